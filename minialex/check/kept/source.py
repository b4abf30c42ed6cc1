"""A function as source that stands alone: with what it reads of its notebook, imports, functions and constants."""

import ast
import builtins
import inspect
import symtable
import sys
import textwrap
import types

import numpy as np

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
    if not is_learners(function):
        raise CannotBeKept(
            f"{function.__name__} comes from the library {function.__module__}: keep a function of your own"
        )
    found = _Found()
    found.add(function)
    return found.text()


def is_learners(thing) -> bool:
    """Written in a notebook or in a script of theirs: not in an installed module."""
    top = (thing.__module__ or "").partition(".")[0]
    return top not in sys.stdlib_module_names - {"__main__"} and top not in ("numpy", "minialex")


def source_of(thing) -> str:
    """Its text, from the first column."""
    try:
        text = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        raise CannotBeKept(
            f"the source of {thing.__name__} is not to be had: write it with `def` in a cell, and run that cell"
        ) from None
    if thing.__name__ == "<lambda>" or not _defines(text):
        raise CannotBeKept(f"a lambda has no lines of its own: write it as `def`:\n{text.strip()}")
    return text.rstrip() + "\n"


def _defines(text):
    """Is this the text of one function or class?"""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    return len(body) == 1 and isinstance(body[0], (ast.FunctionDef, ast.ClassDef))


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
        self.things[name] = thing
        source = source_of(thing)
        inside = inspect.getclosurevars(thing).nonlocals if isinstance(thing, types.FunctionType) else {}
        if inside:
            raise CannotBeKept(
                f"{name} is defined inside another function and reads its {', '.join(sorted(inside))}: "
                "give it these as arguments, or define it in a cell of its own"
            )
        reads = sorted(names_read(source) - {name})
        known = vars(sys.modules[thing.__module__]) if isinstance(thing, type) else thing.__globals__
        for read in reads:
            self._read(read, known, name)
        self.functions[name] = source  # after those that it calls

    def _read(self, name, known, by):
        if name not in known:
            if not hasattr(builtins, name):
                self.faults.append(f"{by} reads {name}, which nothing defines")
            return
        value = known[name]
        if name in self.things:
            if self.things[name] is not value:
                self.faults.append(
                    f"{by} reads a {name} that is not the one which others of its functions read"
                )
            return
        self.things[name] = value
        if isinstance(value, types.ModuleType):
            self._read_module(name, value, by)
        elif isinstance(value, (types.FunctionType, type)) and is_learners(value):
            if value.__name__ != name:
                self.add(value)
                self.functions[name] = f"{name} = {value.__name__}\n"
            else:
                self.add(value)
        elif getattr(value, "__module__", None) and hasattr(value, "__name__"):
            self._read_module_part(name, value, by)
        else:
            text = written(value)
            if text is None:
                self.faults.append(
                    f"{by} reads {name}, {_kind(value)} of the notebook: make it an argument, or define it inside"
                )
            else:
                self.constants[name] = f"{name} = {text}\n"

    def _read_module(self, name, module, by):
        top = module.__name__.partition(".")[0]
        if top != "numpy" and top not in sys.stdlib_module_names:
            self.faults.append(
                f"{by} uses {name} ({module.__name__}): an answer stands on NumPy and Python alone, so that it is yours"
            )
        elif "." in module.__name__ or name != module.__name__:
            self.imports[name] = f"import {module.__name__} as {name}\n"
        else:
            self.imports[name] = f"import {name}\n"

    def _read_module_part(self, name, value, by):
        module = value.__module__
        top, called = module.partition(".")[0], value.__name__
        if top != "numpy" and top not in sys.stdlib_module_names:
            self.faults.append(
                f"{by} uses {name} of {module}: an answer stands on NumPy and Python alone, so that it is yours"
            )
            return
        if getattr(sys.modules.get("numpy"), called, None) is value:
            module = "numpy"
        if getattr(sys.modules.get(module), called, None) is not value:
            self.faults.append(
                f"{by} reads {name}, and where it comes from is not to be seen: import its module"
            )
            return
        self.imports[name] = (
            f"from {module} import {called}" + (f" as {name}" if name != called else "") + "\n"
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


def written(value) -> str | None:
    """A plain value or a small array as text that gives it again; None for others."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size <= FEW:
        if not np.isfinite(value).all():
            return None
        return f"np.array({value.tolist()!r}, dtype={value.dtype.name!r})"
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return written(value.item())
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if np.isfinite(value) else f'float("{value!r}")'
    if isinstance(value, (tuple, list)):
        parts = [written(one) for one in value]
        if None in parts:
            return None
        inside = ", ".join(parts)
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(parts) == 1 else f"({inside})"
    if isinstance(value, dict):
        parts = [(written(k), written(v)) for k, v in value.items()]
        if any(None in pair for pair in parts):
            return None
        return "{" + ", ".join(f"{k}: {v}" for k, v in parts) + "}"
    return None


def _kind(value):
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"a {type(value).__name__}"
