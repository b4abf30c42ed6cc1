"""The command lines of programs: numbers, threads and processes, where a setting comes from, and how mistakes of their
users are told."""

import argparse
import io
import multiprocessing
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from minialex.devices.device import Device
from minialex.errors import DtypeMismatch
from minialex.models.names import network
from minialex.training.alone import PARALLEL, SCHEMES
from minialex.training.runs import NothingToResume
from minialex.words import did_you_mean, nearest, typed

UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}
WORTHWHILE = 32  # pictures of LeNet-5: with fewer, a process gained nothing


class Description(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal: paragraphs are filled anew; lines that are set in, commands say, stay lines.

    What a command does goes below it where it has no room behind it.
    """

    def _fill_text(self, text, width, indent):
        name = re.escape(Path(sys.argv[0]).name)
        text = re.sub(rf"python examples/{name}", lambda _: this_program(), text)  # wherever it lies
        text = re.sub(r"(?<=\S) {4,}python ", r"\n    python ", textwrap.dedent(text).strip("\n"))
        return "\n".join(self._lines(text, width))

    def _lines(self, text, width):
        whole = {"width": width, "break_long_words": False, "break_on_hyphens": False}
        for is_prose, lines in groupby(text.splitlines(), lambda line: line[:1].strip() != ""):
            if is_prose:
                yield textwrap.fill(" ".join(lines), **whole)
                continue
            for line in lines:
                command, *behind = re.split(r"(?<=\S)\s{2,}", line)
                if len(line) <= width or len(behind) != 1:
                    yield line
                    continue
                left = " " * (len(line) - len(line.lstrip()) + 4)
                yield from [
                    command,
                    textwrap.fill(*behind, initial_indent=left, subsequent_indent=left, **whole),
                ]


class Parser(argparse.ArgumentParser):
    """argparse's, which names what a misspelt option, choice or command may have meant. Options are written out.

    >>> parser = Parser(prog="read", exit_on_error=False)
    >>> _ = parser.add_argument("--size", choices=["small", "large"])
    >>> parser.parse_args(["--size", "smal"])
    Traceback (most recent call last):
    argparse.ArgumentError: argument --size: invalid choice: 'smal' (did you mean small?); there are small, large
    """

    def __init__(
        self,
        *args,
        allow_abbrev: bool = False,
        formatter_class: type[argparse.HelpFormatter] = Description,
        **others,
    ):
        if formatter_class is argparse.RawDescriptionHelpFormatter:
            formatter_class = Description
        super().__init__(*args, allow_abbrev=allow_abbrev, formatter_class=formatter_class, **others)

    def parse_known_args(self, args=None, namespace=None):
        """Misspelt options first: else what is said may be that the right one is missing."""
        words = sys.argv[1:] if args is None else list(args)
        for word in words[: words.index("--")] if "--" in words else words:
            if not word.startswith("-"):
                if self._subparsers:  # what follows is for the command's own parser
                    break
                continue
            name = word.partition("=")[0]
            long = name if name.startswith("--") else f"-{name}"
            misspelt = name not in self._option_string_actions and " " not in word
            if misspelt and (name == long or long in self._option_string_actions):  # -epochs may be -e pochs
                options = [option[2:] for option in self._option_string_actions if option.startswith("--")]
                if near := nearest(long[2:], options):
                    self.error(f"unrecognized arguments: {name} (did you mean --{near[0]}?)")
        return super().parse_known_args(words, namespace)

    def _check_value(self, action, value):
        """Where argparse looks whether a value is one of the choices."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            hint = did_you_mean(str(value), choices)
            message = f"invalid choice: {value!r}{hint}; there are {', '.join(choices)}"
            raise argparse.ArgumentError(action, message)


def this_program() -> str:
    """How the running program was started, for messages that say how to start it again, as "python programs/one.py"."""
    return typed("python", sys.argv[0])


def add_threads(parser: argparse.ArgumentParser) -> None:
    """--threads, the same for all programs."""
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        metavar="T",
        help="on a CPU (default: OMP_NUM_THREADS or all cores); the same number gives the same bits",
    )


def use_threads(threads: int | None) -> None:
    """Let the CPU work on so many threads; None: leave it as it is."""
    if threads:
        Device("cpu").threads = threads


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """--cluster, --parallel and --scheme, the same for all programs."""
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="share each batch with the other processes that mpiexec has started: mpiexec -n 4 python ... --cluster",
    )
    parser.add_argument(
        "--parallel",
        choices=PARALLEL,
        help="with --cluster: what is shared. data: the pictures (default); weird-trick: the units of fully connected "
        "layers as well",
    )
    parser.add_argument(
        "--scheme", choices=SCHEMES, help="of the weird trick: how maps are sent around (default: b)"
    )


def check_cluster(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program with a message where its options cannot be together."""
    if args.parallel and not args.cluster:
        parser.error(f"--parallel {args.parallel} says what processes share: it goes with --cluster")
    if args.scheme and args.parallel != "weird-trick":
        parser.error(
            f"--scheme {args.scheme} is of the weird trick: it goes with --cluster --parallel weird-trick"
        )
    if args.cluster and args.evaluate:
        parser.error("-e tests in one process: leave out --cluster")


def check_evaluates(
    parser: argparse.ArgumentParser, args: argparse.Namespace, training: tuple[str, ...]
) -> None:
    """End the program with a message where -e comes with options that do nothing then: `training`, by their names."""
    if not args.evaluate:
        return
    asked = []
    for action in parser._actions:
        if action.dest in training and (value := getattr(args, action.dest)) != action.default:
            shown = "" if action.nargs == 0 else f" {value:g}" if isinstance(value, float) else f" {value}"
            asked.append(max(action.option_strings, key=len) + shown)
    if asked:
        are, them = ("is", "it") if len(asked) == 1 else ("are", "them")
        parser.error(f"{', '.join(asked)} {are} for training, and -e trains nothing: leave {them} out")


def choose_processes(asked: int | None, saved: int | None, batch_size: int, device: Device) -> int:
    """How many processes share a batch: as many as were asked for, else as the resumed run had, else one for each
    thread, where it has enough to do.

    Raises ValueError for more than one on another device than the CPU.
    """
    if device.name == "cpu":
        alone = multiprocessing.current_process().daemon  # which may start none
        return asked or saved or (1 if alone else max(1, min(device.threads, batch_size // WORTHWHILE)))
    if asked and asked > 1:
        raise ValueError(f"--processes {asked} is for a CPU, this run is on {device.name}: leave it out")
    return 1


def settle(asked: dict, of_checkpoint: dict | None, defaults: dict, may_change) -> dict:
    """A run's settings: what was asked for, else what the checkpoint says, else the defaults.

    Raises ValueError when a resumed run asks for something else than it began with, where that cannot be changed.

    >>> settle({"lr": 0.2}, {"lr": 0.1, "seed": 3}, {"lr": 0.5, "seed": 0, "epochs": 9}, may_change={"lr"})
    {'lr': 0.2, 'seed': 3, 'epochs': 9}
    """
    saved = of_checkpoint or {}
    clash = [n for n in asked if n in saved and n not in may_change and asked[n] != saved[n]]
    if clash:
        was = ", ".join(f"{name} {saved[name]}" for name in clash)
        now = ", ".join(f"{name} {asked[name]}" for name in clash)
        raise ValueError(
            f"that run was made with {was}; this run asks for {now}: leave that out, or start a new run"
        )
    return {**defaults, **saved, **asked}


def whole_number(least: int) -> Callable[[str], int]:
    """For argparse: a whole number, at least so large."""

    def parse(text):
        if not text.removeprefix("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number >= {least} is needed, not {text!r}")
        return int(text)

    return parse


def number(text: str) -> float:
    """For argparse: a finite number, not negative."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number >= 0 is needed, not {text!r}")
    return value


def named(text: str) -> str:
    """For argparse: a file or folder. A shell makes an empty name of a variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty: is a variable of the shell not set?")
    return text


def as_path(text: str) -> Path:
    """For argparse: the same as a path."""
    return Path(named(text))


def share(text: str) -> float:
    """For argparse: a probability."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a probability from 0 to 1 is needed, not {text!r}")
    return value


def amount(text: str) -> float:
    """For argparse: a number above 0, which may be long: 20000000, 20,000,000, 20e6, 20M.

    >>> amount("20M") == amount("20,000,000") == amount("2e7")
    True
    """
    thousands = re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?[A-Za-z]?", text)  # 1,5 is no 15
    value, unit = text.replace(",", "") if thousands else text, text[-1:].upper()
    try:
        found = float(value[:-1]) * UNITS[unit] if unit in UNITS else float(value)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(
            f"a number above 0 is needed, as 20000000, 20M or 1.5M, not {text!r}"
        )
    return found


def network_name(name: str) -> str:
    """For argparse: a network that there is; for a misspelt one, the nearest."""
    try:
        network(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def show_what_it_can() -> None:
    """Print "?" for what a terminal cannot show, instead of ending with an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a notebook's is another
        sys.stdout.reconfigure(errors="replace")


@contextmanager
def until_its_reader_goes() -> Iterator[None]:
    """`... | head` has seen enough: then the program ends, without a word, with what shells expect."""
    try:
        yield
        if sys.stdout:  # it may be closed
            sys.stdout.flush()
    except BrokenPipeError:
        try:
            print(flush=True)  # does it fail again?
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        raise  # another pipe


def friendly(main: Callable[[], None]) -> None:
    """Run a program; mistakes of its user end it with a message instead of a traceback."""
    show_what_it_can()
    try:
        with until_its_reader_goes():
            main()
    except KeyboardInterrupt as stop:
        print(f"\nStopped. {stop}", file=sys.stderr)
        sys.exit(130)  # what shells expect after Ctrl-C
    except NothingToResume as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        smaller = "a smaller --batch-size (-b), or where there are such, --image-size or --width"
        sys.exit(f"{Path(sys.argv[0]).name}: out of memory ({error}): try {smaller}")
    except (ValueError, OSError, ArithmeticError, RuntimeError, DtypeMismatch) as error:
        if os.environ.get("MINIALEX_TRACEBACK"):
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
