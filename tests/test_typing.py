"""What a type checker says of programs that use minialex: nothing that they could not mend themselves."""

import inspect
import os
import re
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest
import typed_program

import minialex as mx

ROOT = Path(mx.__file__).parents[1]
NEEDS_MYPY = pytest.mark.skipif(find_spec("mypy") is None, reason="needs mypy: pip install mypy")

# Which functions wait for a type, and why.
UNTYPED = {
    "multiply_adds": "lessons print these lines as they are",
    "column_bytes": "it stands beside multiply_adds",
    "sum_of_neighbours": "a layer's own",
    "windows": "a layer's own",
    "mx.naive.in_float64": "a decorator: naive's own",
}


# What a user does that calls a method without naming it.
SPECIAL = {
    "__len__": "len(it)",
    "__bool__": "bool(it)",
    "__iter__": "print(*[one for one in it])",
    "__getitem__": "it[some]",
    "__contains__": "some in it",
    "__enter__": "with it: pass",
    "__getattr__": "it.something",
}


def test_the_annotated_program_runs(tmp_path):
    said = typed_program.main(tmp_path)
    assert {"no bug", "classes (24,)", "BackwardBeforeForward", "(1, 10)", "right"} <= set(said)


def readme_programs():
    """README's blocks of Python. One that does not import minialex goes on with the names of those before it."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf8"), re.M | re.S
    )
    programs = []
    for block in blocks:
        if "import minialex as mx" in block:
            programs.append(block)
        else:
            programs[-1] += "\n" + block
    assert len(programs) >= 5
    return programs


def is_of(thing, room):
    """Is it a function or a class that this module, or one inside of it, defines?"""
    home = getattr(thing, "__module__", None) or ""
    return callable(thing) and f"{home}.".startswith(f"{room}.")


def public_names():
    """Each public function, class and method of a class, as a user writes it, with what it is."""
    for name in mx.__all__:
        thing = getattr(mx, name)
        yield f"mx.{name}", thing
        if not isinstance(thing, types.ModuleType):
            continue
        own = [n for n, one in vars(thing).items() if n[0] != "_" and is_of(one, thing.__name__)]
        for inner in getattr(thing, "__all__", own):
            if not isinstance(getattr(thing, inner), types.ModuleType):
                yield f"mx.{name}.{inner}", getattr(thing, inner)


def results():
    """The classes of what public functions return, which users hold without having named them."""
    for thing in [thing for _, thing in public_names() if inspect.isfunction(thing)]:
        given = inspect.signature(thing).return_annotation
        if isinstance(given, type) and is_of(given, "minialex"):
            yield given


def calls():
    """Lines of a program that calls all of them, with anything."""
    for written, thing in public_names():
        if isinstance(thing, type):
            yield f"{written}(*some, **named)"
            if not issubclass(thing, Exception):
                yield from calls_of_methods(written, thing)
        elif callable(thing) and written not in UNTYPED:
            yield f"{written}(*some, **named)"
        else:
            yield f"print({written})"
    for thing in sorted(set(results()), key=str):
        name = thing.__name__
        yield f"from {thing.__module__} import {name} as {name}"
        yield from calls_of_methods(name, thing)


def calls_of_methods(written, thing):
    """A function that does all that can be done to an instance of this class."""
    yield f"def of_{written.replace('.', '_')}(it: {written}) -> None:"
    yield "    str(it)"
    for special, use in SPECIAL.items():
        if is_of(getattr(thing, special, None), "minialex"):
            yield f"    {use}"
    for name, method in inspect.getmembers(thing, inspect.isfunction):
        if name[0] != "_" and is_of(method, "minialex") and name not in UNTYPED:
            yield f"    it.{name}(*some, **named)"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What mypy says of each program, line by line. One call of mypy for all: it reads NumPy first, for 20 seconds."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "program.py").write_text(
        Path(typed_program.__file__).read_text(encoding="utf8"), encoding="utf8"
    )
    start = "from typing import Any\n\nimport minialex as mx\n\nsome: Any = ()\nnamed: Any = {}\n"
    (folder / "calls.py").write_text(start + "\n".join(calls()) + "\n", encoding="utf8")
    # README's are written without annotations, so their own functions have none. All else of --strict holds.
    bare = "# mypy: allow-untyped-defs, allow-incomplete-defs, untyped-calls-exclude={}\n"
    for number, text in enumerate(readme_programs()):
        name = f"readme{number}"
        (folder / f"{name}.py").write_text(bare.format(name) + text, encoding="utf8")
    names = sorted(path.name for path in folder.glob("*.py"))
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"]
    done = subprocess.run(
        [*command, "--cache-dir", str(folder / "cache"), *names],
        cwd=folder, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr + done.stdout
    said = {name: [] for name in names}
    for line in done.stdout.splitlines():
        said[line.partition(":")[0]].append(line)
    return said


@NEEDS_MYPY
@pytest.mark.slow
@pytest.mark.parametrize("name", ["program", "calls", *(f"readme{k}" for k in range(len(readme_programs())))])
def test_a_strict_type_checker_finds_nothing_in(found, name):
    assert found[f"{name}.py"] == []
