"""python -m minialex doctor | summary | predict | classify | marks"""

import argparse
import os
import sys

import minialex as mx
from minialex.check.kept import marks
from minialex.commands import classify, doctor, predict, summary
from minialex.training.command_line import Parser

COMMANDS = {
    "doctor": (doctor, "versions, devices, data; what is missing, and what mends it"),
    "summary": (summary, "a network's layers: shapes, parameters, multiply-adds, columns"),
    "predict": (predict, "read a photographed or drawn digit"),
    "classify": (classify, "what a network sees in photographs: five names for each"),
    "marks": (marks, "try the answers that learners kept: a row for each folder, a column for each exercise"),
}


def main(argv=None) -> int:
    parser = Parser(prog="python -m minialex")
    commands = parser.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))
    for name, (module, what) in COMMANDS.items():
        raw = argparse.RawDescriptionHelpFormatter
        one = commands.add_parser(name, help=what, description=module.__doc__, formatter_class=raw)
        module.add_options(one)
        one.set_defaults(run=module.run)

    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        print(f"minialex {args.command}: out of memory: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, mx.DeviceUnavailable, mx.NotFinite) as error:
        print(f"minialex {args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # "?" for what a terminal cannot show
    sys.exit(main())
