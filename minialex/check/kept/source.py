"""A function as source that stands alone: with what it reads of its notebook, imports, functions and constants."""

import ast
import builtins
import inspect
import linecache
import symtable
import sys
import textwrap
import types
from contextlib import suppress
from pathlib import Path

import numpy as np

from minialex.words import a_or_an

LIBRARIES = ("numpy", "minialex")
FEW = 1000  # numbers of an array that is written out


class CannotBeKept(ValueError):
    """What a function reads can't be written down with it; the text says what, and what to do."""


def standing_alone(function) -> str:
    """The source of a function and of all that it reads: imports first, constants, then functions, callers last.

    Raises CannotBeKept for what can't be written down: names that nobody defines, modules that are neither NumPy nor
    Python's own, arrays of data, objects.

    >>> print(standing_alone(textwrap.dedent))                                  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    minialex.check.kept.source.CannotBeKept: dedent comes from the library textwrap: keep a function of your own
    """
    if not isinstance(function, types.FunctionType):
        raise CannotBeKept(f"keep takes a function that you wrote with `def`; this is {function!r}")
    if not is_learners(inspect.unwrap(function)):
        raise CannotBeKept(
            f"{function.__name__} comes from the library {function.__module__}: keep a function of your own"
        )
    found = _Found()
    found.add(function)
    return found.text()


def is_learners(thing) -> bool:
    """Written in a notebook or in a script of theirs: not in an installed module."""
    name = thing.__module__ or ""
    top, file = name.partition(".")[0], getattr(sys.modules.get(name), "__file__", None) or ""
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return top not in sys.stdlib_module_names - {"__main__"} and top not in LIBRARIES and not installed


def source_of(thing) -> str:
    """Its text, from the first column."""
    try:
        text = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        text = _of_cells(thing)
    if text is None:
        raise CannotBeKept(
            f"the source of {thing.__name__} is not to be had: write it in a cell of its own that begins with no "
            "%% line, and run that cell"
        )
    defined = _defined(text)
    if isinstance(defined, ast.AsyncFunctionDef):
        raise CannotBeKept(f"{thing.__name__} is an `async def`: write it as `def`")
    if thing.__name__ != "<lambda>" and defined is None:
        raise CannotBeKept(
            f"{thing.__name__} is not to be cut out of its cell: begin its `def` at the left margin"
        )
    if thing.__name__ == "<lambda>":
        raise CannotBeKept(f"a lambda has no lines of its own: write it as `def`:\n{text.strip()}")
    if defined.name != thing.__name__:
        raise CannotBeKept(
            f"where {thing.__name__} was defined its file has {defined.name} now: import the file anew, or restart"
        )
    return text.rstrip() + "\n"


def _of_cells(thing):
    """The text of a class of a notebook, which `inspect` finds in files alone: its newest definition in a cell."""
    if not isinstance(thing, type) or thing.__module__ != "__main__":
        return None
    for entry in reversed(list(linecache.cache.values())):
        text = (
            "".join(entry[2]) if len(entry) == 4 and entry[1] is None else ""
        )  # a cell has no time of change
        with suppress(SyntaxError):
            for node in reversed(ast.parse(text).body):
                if isinstance(node, ast.ClassDef) and node.name == thing.__name__:
                    first = min(part.lineno for part in [node, *node.decorator_list])
                    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    return None


def _defined(text):
    """The one function or class whose text this is."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return body[0] if len(body) == 1 and isinstance(body[0], kinds) else None


class _Found:
    """What was gathered so far."""

    def __init__(self):
        self.imports: dict[str, str] = {}  # name -> its line
        self.constants: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.things: dict[str, object] = {}
        self.faults: list[str] = []

    def add(self, thing):
        """A function or a class, and what it reads."""
        name = thing.__name__
        if self.things.setdefault(name, thing) is not thing:
            self.faults.append(f"two of the functions that it reads are called {name}: give one another name")
            return
        source = source_of(thing)
        thing = inspect.unwrap(thing)  # of a decorator, which stands above it and is read as well
        inside = inspect.getclosurevars(thing).nonlocals if isinstance(thing, types.FunctionType) else {}
        if inside:
            raise CannotBeKept(
                f"{name} is defined inside another function and reads its {', '.join(sorted(inside))}: "
                "give it these as arguments, or define it in a cell of its own"
            )
        if written_to := globals_written(source):
            raise CannotBeKept(
                f"{name} writes to the notebook's {', '.join(sorted(written_to))}: take `global` out, so that it gives "
                "the same for the same arguments"
            )
        reads = sorted(names_read(source) - {name})
        known = vars(sys.modules[thing.__module__]) if isinstance(thing, type) else thing.__globals__
        self._look_at_defaults(thing, source, known)
        for read in reads:
            self._read(read, known, name)
        self.functions[name] = source  # after those that it calls

    def _look_at_defaults(self, thing, source, known):
        """A default was computed when the cell ran; its text is computed again, and must give the same."""
        arguments = _defined(source).args if isinstance(thing, types.FunctionType) else None
        texts = [*arguments.defaults, *filter(None, arguments.kw_defaults)] if arguments else []
        values = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()] if arguments else []
        for text, value in zip(texts, values, strict=False):
            if isinstance(text, ast.Name) and text.id in known and known[text.id] is not value:
                self.faults.append(
                    f"{thing.__name__} took its default {text.id} when that was another: run its cell again"
                )
            elif _is_arithmetic(text) and (was := written(value)) is not None:
                with suppress(Exception):  # it may need what is no more
                    if written(eval(ast.unparse(text), dict(known))) != was:
                        self.faults.append(
                            f"{thing.__name__} took its default {ast.unparse(text)} when that was {was[:60]}: run its "
                            "cell again"
                        )

    def _read(self, name, known, by):
        value = known.get(name, getattr(builtins, name, None))
        if (getattr(value, "__module__", None) or "").startswith("IPython"):
            self.faults.append(
                f"{by} uses {name}, which notebooks have and Python has not (a line with % or ! does): take it out"
            )
            return
        if name not in known:
            if not hasattr(builtins, name):
                self.faults.append(f"{by} reads {name}, which nothing defines")
            return
        if name in self.things:
            if self.things[name] is not value:
                self.faults.append(
                    f"{by} reads a {name} that is not the one which others of its functions read"
                )
            return
        self.things[name] = value
        if isinstance(value, types.ModuleType):
            self._read_module(name, value, by)
        elif isinstance(inspect.unwrap(value), (types.FunctionType, type)) and is_learners(
            inspect.unwrap(value)
        ):
            if value.__name__ != name:
                self.add(value)
                self.functions[name] = f"{name} = {value.__name__}\n"
            else:
                self.add(value)
        elif hasattr(value, "__name__") and (getattr(value, "__module__", None) or _place_of(name, value)):
            self._read_module_part(name, value, by)
        else:
            text = written(value)
            if text is not None and "np." in text:
                self._read("np", {"np": np, **known}, by)
            if text is None:
                self.faults.append(
                    f"{by} reads {name}, {_kind(value)} of the notebook: make it an argument, or define it inside"
                )
            else:
                self.constants[name] = f"{name} = {text}\n"

    def _read_module(self, name, module, by):
        if not _is_own(module.__name__):
            self.faults.append(
                f"{by} uses {name} ({module.__name__}): an answer stands on NumPy and Python alone, so that it is yours"
            )
        elif "." in module.__name__ or name != module.__name__:
            self.imports[name] = f"import {module.__name__} as {name}\n"
        else:
            self.imports[name] = f"import {name}\n"

    def _read_module_part(self, name, value, by):
        place = _place_of(name, value)
        if place is not None:
            module, called = place
            self.imports[name] = (
                f"from {module} import {called}" + (f" as {name}" if name != called else "") + "\n"
            )
        elif _is_own(value.__module__):
            self.faults.append(
                f"{by} reads {name}, and where it comes from is not to be seen: import its module"
            )
        else:
            self.faults.append(
                f"{by} uses {name} of {value.__module__}: an answer stands on NumPy and Python alone, so that it is "
                "yours"
            )

    def text(self) -> str:
        if self.faults:
            raise CannotBeKept("; ".join(dict.fromkeys(self.faults)))
        imports = sorted(self.imports.values(), key=lambda line: (line.split()[1] == "numpy", line))
        parts = ["".join(imports), "".join(self.constants.values()), *self.functions.values()]
        return "\n\n".join(part for part in parts if part)


def names_read(source: str) -> set[str]:
    """The global names that a text reads: of its functions, their defaults and what stands around them.

    >>> sorted(names_read("def f(x, k=K):\\n    y = np.exp(x)\\n    return [helper(i) for i in y]"))
    ['K', 'helper', 'np']
    """
    found: set[str] = set()

    def look(table):
        for symbol in table.get_symbols():
            is_global = symbol.is_global() or (table.get_type() == "module" and not symbol.is_assigned())
            if symbol.is_referenced() and is_global:
                found.add(symbol.get_name())
        for inner in table.get_children():
            look(inner)

    look(symtable.symtable(source, "answer", "exec"))
    defined = {node.name for node in ast.parse(source).body if hasattr(node, "name")}
    return found - defined


def names_bound(source: str) -> set[str]:
    """The names that a text gives a value: of functions, classes, imports and constants.

    >>> sorted(names_bound("from math import exp as e\\nK = 1\\nclass C: ...\\ndef f(x):\\n    y = x"))
    ['C', 'K', 'e', 'f']
    """
    symbols = symtable.symtable(source, "answer", "exec").get_symbols()
    return {one.get_name() for one in symbols if one.is_assigned() or one.is_imported()}


def globals_written(source: str) -> set[str]:
    """The names that a text declares `global` and gives values.

    >>> globals_written("def f(x):\\n    global calls\\n    calls += 1\\n    return x")
    {'calls'}
    """
    found: set[str] = set()

    def look(table):
        found.update(s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned())
        for inner in table.get_children():
            look(inner)

    look(symtable.symtable(source, "answer", "exec"))
    return found


def _place_of(name, value):
    """A module of NumPy's or Python's own, and the name there, that give this value."""
    called = value.__name__
    own = getattr(value, "__module__", None) or "numpy"  # its ufuncs say so from NumPy 2.2 on
    others = sorted(sys.modules, key=lambda one: (one.count("."), one))
    places = [("numpy", called), (own, called), *((other, name) for other in others)]
    for module, there in places:
        public = _is_own(module) and "._" not in module
        if public and getattr(sys.modules.get(module), "__dict__", {}).get(there) is value:
            return module, there
    return None


def _is_own(module: str) -> bool:
    top = module.partition(".")[0]
    return top == "numpy" or top in sys.stdlib_module_names - {"__main__"}


def _is_arithmetic(text: ast.expr) -> bool:
    """Does it read names, and call nothing? Then it may be computed again, and gives the same from the same."""
    kinds = {type(part) for part in ast.walk(text)}
    calls = {
        ast.Call,
        ast.NamedExpr,
        ast.Await,
        ast.Yield,
        ast.YieldFrom,
        ast.Lambda,
        ast.JoinedStr,
        ast.Attribute,
    }
    return ast.Name in kinds and not kinds & calls


def written(value) -> str | None:
    """A plain value or a small array as text that gives it again, where np is NumPy; None for others."""
    try:
        return _written(value)
    except RecursionError:  # a list that holds itself
        return None


def _written(value):
    kind = type(value)
    if kind is np.ndarray and value.dtype.kind in "biuf" and 0 < value.size <= FEW:
        return f"np.array({_written(value.tolist())}, dtype={value.dtype.name!r})"
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return f"np.dtype({value.dtype.name!r}).type({_written(value.item())})"
    if isinstance(value, np.dtype) and value.kind in "biufc":
        return f"np.dtype({value.name!r})"
    if value is None or kind in (bool, int, str, bytes, range, slice):
        return repr(value)
    if kind is float:
        return repr(value) if np.isfinite(value) else f'float("{value!r}")'
    if kind is complex:
        return f"complex({_written(value.real)}, {_written(value.imag)})"
    if kind in (tuple, list, set):
        parts = [_written(one) for one in value]
        if None in parts:
            return None
        inside = ", ".join(parts)
        if kind is list:
            return f"[{inside}]"
        if kind is set:
            return f"{{{inside}}}" if parts else "set()"
        return f"({inside},)" if len(parts) == 1 else f"({inside})"
    if kind is dict:
        parts = [(_written(k), _written(v)) for k, v in value.items()]
        if any(None in pair for pair in parts):
            return None
        return "{" + ", ".join(f"{k}: {v}" for k, v in parts) + "}"
    return None


def _kind(value):
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    name = type(value).__name__
    return a_or_an(name)
