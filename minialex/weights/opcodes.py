"""A look at a pickle before it is run: its operations are counted, their lengths compared with what is there.

A pickle is a program for a small machine with a stack and a memory. Python's own machine believes it: a memory cell
of number 2^27 costs 2 GB, and a dict's key that is 300,000 tuples in each other ends the process, since Python hashes
it without looking how deep it is. Nothing is run here, and no text is read into memory.
"""

import os
import pickletools

MOST_OPERATIONS = 200_000  # a file of 5,000 tensors has as many; AlexNet's has 600
MOST_DIGITS = 200  # of a number, a name, or the like on a line of its own

OPERATIONS = {ord(operation.code): operation for operation in pickletools.opcodes}
CONTAINERS = [
    pickletools.pytuple,
    pickletools.pylist,
    pickletools.pydict,
    pickletools.pyset,
    pickletools.pyfrozenset,
]
LONG_TEXT = {"STRING", "UNICODE"}  # the lines that may be long
NEVER = {
    "EXT1",
    "EXT2",
    "EXT4",
    "NEXT_BUFFER",
    "READONLY_BUFFER",
}  # what they mean stands outside of the file
REMEMBER = {"PUT", "BINPUT", "LONG_BINPUT"}
RECALL = {"GET", "BINGET", "LONG_BINGET"}
LONG_NUMBERS = {"LONG1", "LONG4"}
NUMBERS = LONG_NUMBERS | {"LONG", "INT", "FLOAT", "BINFLOAT"}  # that may be long; no key is one of these
BYTES_OF_LENGTH = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


def look_through(file) -> None:
    """Raise ValueError if the pickle that begins here does more than to put arrays together; the file stays there.

    At most 200,000 operations, as many memory cells, whole numbers of 16 bytes and lines of 200 characters (texts
    aside); nothing longer than the rest of the file; keys of dicts and members of sets are no lists, tuples or dicts.
    """
    begin = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(begin)
    machine = _Machine()
    for _ in range(MOST_OPERATIONS):
        operation = OPERATIONS.get(code[0]) if (code := file.read(1)) else None
        if operation is None:
            raise ValueError(
                f"its pickle has an unknown operation, {code!r}" if code else "its pickle has no end"
            )
        machine.take(operation, _argument(file, operation, end))
        if operation.name == "STOP":
            file.seek(begin)
            return
    raise ValueError(f"its pickle has more than {MOST_OPERATIONS:,} operations")


def _argument(file, operation, end: int) -> bytes | None:
    """What stands behind an operation, if it is short; a text is passed over."""
    if operation.arg is None:
        return None
    if operation.arg.n >= 0:
        content = file.read(operation.arg.n)
        if operation.name == "FRAME":
            _check_length(operation, content, file, end)
        return content
    if operation.arg.n == pickletools.UP_TO_NEWLINE:
        lines = 2 if operation.name in ("GLOBAL", "INST") else 1
        line = b"".join(
            file.readline(-1 if operation.name in LONG_TEXT else MOST_DIGITS + 1) for _ in range(lines)
        )
        if len(line) > lines * MOST_DIGITS and operation.name not in LONG_TEXT:
            raise ValueError(f"its pickle has a line of more than {MOST_DIGITS} characters")
        return line
    content = file.read(BYTES_OF_LENGTH[operation.arg.n])
    length = _check_length(operation, content, file, end)
    if operation.name in LONG_NUMBERS and length > 16:
        raise ValueError(f"its pickle has a number of {length:,} bytes")
    file.seek(length, os.SEEK_CUR)
    return content


def _check_length(operation, content: bytes, file, end: int) -> int:
    length, rest = int.from_bytes(content, "little"), end - file.tell()
    if length > rest:
        raise ValueError(f"its pickle has a {operation.name} of {length:,} bytes, where {rest:,} are left")
    return length


class _Machine:
    """The stack and the memory, with a word for each value in place of the value."""

    def __init__(self):
        self.stack, self.memory = [], {}

    def take(self, operation, argument) -> None:
        """Do an operation, if it is harmless."""
        name = operation.name
        if name in NEVER:
            raise ValueError(f"its pickle does {name}, which arrays never need")
        if name in REMEMBER or name == "MEMOIZE":
            cell = len(self.memory) if name == "MEMOIZE" else _number(name, argument)
            if not 0 <= cell <= MOST_OPERATIONS:
                raise ValueError(f"its pickle uses memory cell {cell:,}; the most is {MOST_OPERATIONS:,}")
            self.memory[cell] = self.stack[-1]
        elif name in RECALL:
            self.stack.append(self.memory[_number(name, argument)])
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        else:
            taken = self._pop(operation)
            self._look_at_keys(name, taken)
            if name == "BUILD":  # it gives its first value a state, and leaves it there
                self.stack.append(taken[0])
            else:
                self.stack.extend(
                    "number" if name in NUMBERS else _word(kind) for kind in operation.stack_after
                )

    def _pop(self, operation) -> list[str]:
        """What an operation takes: so many values, or all down to the mark, and what lies under it besides."""
        before, stack = operation.stack_before, self.stack
        if pickletools.markobject not in before:
            start = len(stack) - len(before)
            taken = stack[start:] if start >= 0 else None
        else:
            under = before.index(pickletools.markobject)  # the dict of SETITEMS, say
            mark = len(stack) - 1
            while mark >= 0 and stack[mark] != "mark":
                mark -= 1
            start = mark - under
            taken = stack[mark + 1 :] if start >= 0 else None
        if taken is None:
            raise ValueError(f"its pickle does {operation.name} with values that are not there")
        del stack[start:]
        return taken

    def _look_at_keys(self, name, taken) -> None:
        """A container as a key is refused: to hash it may take all memory or time."""
        keys = {
            "SETITEM": taken[1:2],
            "SETITEMS": taken[::2],
            "DICT": taken[::2],
            "ADDITEMS": taken,
            "FROZENSET": taken,
        }.get(name, ())
        for key in keys:
            if key != "other":
                raise ValueError(f"its pickle has a {key} as a name")


def _word(kind) -> str:
    return "mark" if kind is pickletools.markobject else "container" if kind in CONTAINERS else "other"


def _number(name: str, argument: bytes) -> int:
    """The number of a memory cell: a line of digits, or bytes."""
    return int(argument) if name in ("PUT", "GET") else int.from_bytes(argument, "little")
