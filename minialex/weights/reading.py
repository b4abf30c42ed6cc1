"""Files that others wrote: no more of them is read than can be needed, whatever they promise of themselves.

A file may be damaged, or made to do harm: lengths, counts and shapes in it are compared with what is there, and with
the limits below, before memory is taken for them. What exceeds a limit is refused, with the number.
"""

import codecs
import os
import reprlib
from pathlib import Path
from typing import BinaryIO

from minialex.errors import DataError

MEBI = 2**20
MOST_TEXT = 16 * MEBI  # bytes of a text file: ImageNet's ground truth has 1.6 MB
MOST_LINES = 500_000  # of a text file: ImageNet's ground truth has 50,000
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # as str.splitlines has them
PIECE = MEBI  # bytes that are read at once of what is compressed


def read_at_most(path: str | os.PathLike, most: int) -> bytes:
    """All bytes of a file. Raises DataError, naming it, when there are more than `most`, FileNotFoundError for none."""
    if not Path(path).is_file():  # to read from a pipe or a device may never end
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DataError(f"{path} is too large for what it should be: it has more than {most:,} bytes")
    return content


class Capped:
    """A zip file, say, of whose list of parts nobody can ask for much at once, whatever he found written in it.

    Raises ValueError where there are more than `most` bytes to read at once.

    >>> import io
    >>> Capped(io.BytesIO(b"123456789"), 4).read(3)
    b'123'
    """

    def __init__(self, file: BinaryIO, most: int):
        self.file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        content = self.file.read(self.most + 1 if count < 0 else min(count, self.most + 1))
        if len(content) > self.most:
            raise ValueError(f"its list of parts has more than {self.most:,} bytes")
        return content


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file, without empty ones at its end; what is no text becomes a question mark.

    UTF-8, or UTF-16 where it begins with its mark, as PowerShell writes it; the mark is none of its letters.
    Raises DataError, naming the file, when it has more than 500,000 lines or 16 MiB; FileNotFoundError for none.
    """
    content = read_at_most(path, MOST_TEXT)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    if sum(map(text.count, LINE_ENDS)) > MOST_LINES:
        raise DataError(f"{path} is too large for what it should be: it has more than {MOST_LINES:,} lines")
    return text.rstrip().splitlines()


def shown(value) -> str:
    """A value for a message: a long one is shortened, a deep one as well, and what is no plain value has its kind."""
    text = _BRIEF.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Brief(reprlib.Repr):
    def repr_instance(self, x, level):
        """What reprlib would show whole, which can take for ever: a dict that holds the next one twice, and so on."""
        if isinstance(x, (str, bytes)):
            return repr(x[:30])
        return repr(x) if isinstance(x, (bool, float, type(None))) else f"<{type(x).__name__}>"


_BRIEF = _Brief()
