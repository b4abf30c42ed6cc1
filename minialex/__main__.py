"""minialex doctor | summary | predict | classify | marks | lessons | examples; python -m minialex is the same."""

import argparse
import sys
from pathlib import Path

import minialex as mx
from minialex.check.kept import marks
from minialex.commands import classify, doctor, examples, lessons, predict, summary
from minialex.training.command_line import Parser, show_what_it_can, until_its_reader_goes

COMMANDS = {
    "doctor": (doctor, "versions, devices, data; what is missing, and what mends it"),
    "summary": (summary, "a network's layers: shapes, parameters, multiply-adds, columns"),
    "predict": (predict, "read a photographed or drawn digit"),
    "classify": (classify, "what a network sees in photographs: five names for each"),
    "marks": (marks, "try the answers that learners kept: a row for each folder, a column for each exercise"),
    "lessons": (lessons, "write the lessons to a folder: notebooks, solutions, and what they name"),
    "examples": (examples, "write the example programs to a folder"),
}


def main(argv=None) -> int:
    """The program: `minialex`, and `python -m minialex`. Returns its exit status."""
    show_what_it_can()
    as_module = Path(sys.argv[0]).name == "__main__.py"
    parser = Parser(prog="python -m minialex" if as_module else "minialex")
    parser.add_argument("--version", action="version", version=f"minialex {mx.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))
    for name, (module, what) in COMMANDS.items():
        raw = argparse.RawDescriptionHelpFormatter
        one = commands.add_parser(name, help=what, description=module.__doc__, formatter_class=raw)
        module.add_options(one)
        one.set_defaults(run=module.run)

    if not (sys.argv[1:] if argv is None else argv):
        parser.exit(2, parser.format_help())
    args = parser.parse_args(argv)
    try:
        with until_its_reader_goes():
            return args.run(args)
    except MemoryError as error:
        print(f"minialex {args.command}: out of memory: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, mx.DeviceUnavailable, mx.NotFinite) as error:
        print(f"minialex {args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
