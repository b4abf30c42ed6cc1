"""The lines of a function that write a name, and where they stand: found in its source, by its syntax tree.

>>> def forward(x):
...     y = 2 * x  # twice
...     y += 1
...     return y
>>> [(line.number, line.text) for line in text_of(forward).writes["y"]]
[(2, 'y = 2 * x'), (3, 'y += 1')]
"""

import ast
import functools
import inspect
import io
import tokenize
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)  # what has names of its own
ADDING = ("append", "extend", "insert", "update", "setdefault")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Line(NamedTuple):
    """One statement, written on one line however many it takes in the file, without its comments."""

    file: str  # "layers/conv.py", or a user's file; "" where there is none to look into
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}" if self.file else ""


class Text:
    """What the source of a function says of the names in it.

    Attributes
        head        the line of its `def`
        writes      the lines that write each name: by =, +=, :=, `for`, `with`, `name[...] =`, `out=name`, and into a
                    list or a dict by `name.append` and the like
        grads       "weight": the lines that set `<something>.weight.grad`
        attributes  "weight": the lines that set `self.weight`
        moves       "running_mean": the lines that call `self.running_mean.move`
        returns     (line, the names that it returns as they are), for each `return` of something
        helpers     the names of the methods that it calls, `self.<name>(...)`
    """

    def __init__(self, function):
        lines, first = inspect.getsourcelines(function)
        path = Path(inspect.getsourcefile(function))
        inside = path.is_relative_to(PACKAGE)
        self.file = path.relative_to(PACKAGE).as_posix() if inside else path.name if path.is_file() else ""
        self.source, self.before = lines, first - 1  # how many lines of the file stand before these
        if lines[0][0].isspace():  # a method: it needs something around it
            self.source, self.before = ["if True:\n", *lines], first - 2
        tree = ast.parse("".join(self.source)).body[0]
        tree = tree.body[0] if isinstance(tree, ast.If) else tree
        if not isinstance(tree, ast.FunctionDef):
            raise TypeError("a lambda: there are no lines in it")
        arguments = [*tree.args.posonlyargs, *tree.args.args]
        self.owner = arguments[0].arg if arguments else ""  # "self"
        start = tree.lineno - 1
        self.head = Line(self.file, self.before + tree.lineno, self.source[start].strip())
        self.writes, self.grads, self.attributes = defaultdict(list), defaultdict(list), defaultdict(list)
        self.moves = defaultdict(list)
        self.returns, self.helpers = [], []
        for statement in statements(tree):
            self.read(statement)

    def read(self, statement):
        parts = header(statement)
        line = None
        for node in (node for part in parts for node in inner(part)):
            for kind, name in written(node, self.owner):
                line = line or self.line(statement, parts)
                found = getattr(self, kind)[name]
                if line not in found:
                    found.append(line)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                self.helpers += [node.func.attr] * (getattr(node.func.value, "id", "") == self.owner != "")
        if isinstance(statement, ast.Return) and not is_none(statement.value):
            value = statement.value
            names = value.elts if isinstance(value, ast.Tuple) else [value]
            plain = [node.id for node in names if isinstance(node, ast.Name)]
            self.returns.append((self.line(statement, parts), plain if len(plain) == len(names) else []))

    def line(self, statement, parts) -> Line:
        """The statement's text; of one that has others in it, its head."""
        first, last = statement, max(parts, key=lambda part: (part.end_lineno, part.end_col_offset))
        lines = [
            line.encode() for line in self.source[first.lineno - 1 : last.end_lineno]
        ]  # columns are bytes
        lines[-1] = lines[-1][: last.end_col_offset]
        lines[0] = lines[0][first.col_offset :]
        return Line(self.file, self.before + first.lineno, on_one_line(b"".join(lines).decode()))


@functools.lru_cache(maxsize=512)
def text_of(function) -> Text | None:
    """What the source says; None for a function that has none: from exec, a bare interpreter, or written in C."""
    try:
        return Text(inspect.unwrap(function))
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return None


def statements(node):
    """All statements in a function, from top to bottom; not those of functions and classes in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            continue
        if isinstance(child, ast.stmt):
            yield child
        if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield from statements(child)


def header(statement) -> list[ast.AST]:
    """A simple statement itself; of `for`, `with`, `if`, `while`, `match` what stands before the colon."""
    if not isinstance(getattr(statement, "body", getattr(statement, "cases", None)), list):
        return [statement]
    if isinstance(statement, ast.For):
        return [statement.target, statement.iter]
    if isinstance(statement, ast.With):
        return [part for item in statement.items for part in (item.context_expr, item.optional_vars) if part]
    test = getattr(statement, "test", getattr(statement, "subject", None))
    return [test] if test else []  # `try` has none


def inner(node):
    """The node and what is in it, without lambdas, and without the variables of comprehensions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            continue
        if isinstance(child, ast.comprehension):
            yield from inner(child.iter)
            for test in child.ifs:
                yield from inner(test)
        else:
            yield from inner(child)


def written(node, owner):
    """("writes", "y"), ("grads", "weight"), ("attributes", "weight"): what a node of the tree writes."""
    stored = isinstance(getattr(node, "ctx", None), ast.Store)
    if isinstance(node, ast.Name) and stored:
        yield "writes", node.id
    elif isinstance(node, ast.Subscript) and stored:  # y[...] = , y[0].T[...] =
        base = node
        while isinstance(base, (ast.Subscript, ast.Attribute)):
            base = base.value
        if isinstance(base, ast.Name) and base.id != owner:
            yield "writes", base.id
    elif isinstance(node, ast.Attribute) and stored:
        if node.attr == "grad":
            yield "grads", getattr(node.value, "attr", getattr(node.value, "id", ""))
        elif isinstance(node.value, ast.Name) and node.value.id == owner:
            yield "attributes", node.attr
    elif isinstance(node, ast.keyword) and node.arg == "out" and isinstance(node.value, ast.Name):
        yield "writes", node.value.id
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ADDING:  # ys.append(y)
        if isinstance(node.func.value, ast.Name) and node.func.value.id != owner:
            yield "writes", node.func.value.id
    elif (
        isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "move"
    ):  # self.running_mean.move(...)
        held = node.func.value
        if isinstance(held, ast.Attribute) and getattr(held.value, "id", "") == owner != "":
            yield "moves", held.attr
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
        "at",
        "copyto",
    ):  # np.add.at(y, ...)
        yield from (("writes", first.id) for first in node.args[:1] if isinstance(first, ast.Name))


def is_none(node) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def on_one_line(text: str) -> str:
    """A statement of several lines as one, without the comments in it.

    >>> on_one_line('''y = f(
    ...     x,  # the input
    ...     2
    ... )''')
    'y = f(x, 2)'
    """
    text = text.strip()
    if "\n" not in text:
        return text  # a comment at its end lies outside of the statement
    lines = text.splitlines()
    comments = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comments[token.start[0] - 1] = token.start[1]
    except (tokenize.TokenError, IndentationError):  # the head of a `for` or a `with` alone
        pass
    whole = ""
    for number, line in enumerate(lines):
        line = line[: comments.get(number)].strip().removesuffix("\\").rstrip()
        if not whole or not line or whole[-1] in "([{":
            whole += line
        elif line[0] in ")]}":
            whole = whole.removesuffix(",") + line
        else:
            whole += f" {line}"
    return whole
