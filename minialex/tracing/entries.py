"""What a trace holds: entries, each an array with its name and its lines, and the files that they are written to."""

import hashlib
import json
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex.shapes import is_whole
from minialex.tracing import stepper
from minialex.weights import write_whole, writing_whole
from minialex.words import counted, did_you_mean, nearest

FORBIDDEN = re.compile(
    r'[\x00-\x1f\x7f<>:"/\\|?*%\ud800-\udfff]'
)  # in the file names of one system or another
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # devices, on Windows


@dataclass(frozen=True, eq=False)
class Entry:
    """One array of a pass.

    Attributes
        name        "conv1.columns"
        array       a copy, in host memory
        kind        "forward", "backward", "parameter", or "update" (an optimizer's step)
        layer       "conv1": its layer's name; "" where one layer alone was traced
        formula     the text of its lines, in one
        source      where the first of them stands: "layers/conv.py:62"; "" where there is no file to look into
        lines       the lines that write it, each (number, text); empty where there is no source
        batch_axis  which axis is the batch: None in parameters, their gradients, and the loss
    """

    name: str
    array: np.ndarray
    kind: str
    layer: str
    formula: str
    source: str
    lines: tuple[tuple[int, str], ...] = ()
    batch_axis: int | None = 0

    @property
    def batched(self) -> bool:
        """Is its first axis the batch?"""
        return self.batch_axis == 0

    def picture(self, number: int = 0) -> np.ndarray:
        """What of it belongs to one picture; all of it, where the batch is in no axis."""
        return self.array if self.batch_axis is None else self.array.take(number, axis=self.batch_axis)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __repr__(self):
        return f"<{self.name} {self.shape} {self.dtype}: {self.formula}; {self.source}>"


class Trace(Mapping):
    """All arrays of one pass, by name, in the order in which they came about. Printed, it is a table.

    `trace["conv1.columns"]` is an Entry; `layers` says of each layer what it is and how it is set. Raises KeyError,
    with the names that come near, for an array that is not there.

    >>> from minialex.layers import ReLU
    >>> from minialex.tracing.recorder import trace
    >>> found = trace(ReLU(), np.array([[-1.0, 2.0]]), grad_y=np.array([[10.0, 10.0]]))
    >>> print(found)
    trace of ReLU
    name    shape   formula
    x       (1, 2)  x is what comes in
    mask    (1, 2)  mask = x > 0
    y       (1, 2)  return self.xp.maximum(x, 0)
    grad_y  (1, 2)  grad_y = dloss / dy, from the layer after it
    grad_x  (1, 2)  return self.xp.where(self.saved.mask, grad_y, 0)
    >>> found["grad_x"].array
    array([[ 0., 10.]])
    """

    def __init__(self, title: str, entries: dict[str, Entry], layers: dict[str, dict]):
        self.title, self.layers, self._entries = title, layers, entries

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            near = nearest(str(name), self._entries, most=4, cutoff=0.5)
            hint = f"near it: {', '.join(near)}" if near else f"it has {', '.join(list(self)[:8])}, ..."
            raise KeyError(f"{name!r} is not in the trace of {self.title}; {hint}")
        return self._entries[name]

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __str__(self):
        rows = [("name", "shape", "formula"), *((e.name, str(e.shape), e.formula) for e in self.values())]
        wide, shape = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"{name:<{wide}}  {of_shape:<{shape}}  {formula}" for name, of_shape, formula in rows]
        return "\n".join([f"trace of {self.title}", *lines])

    def __repr__(self):
        return f"<trace of {self.title}: {counted(len(self), 'array')}; print it for more>"

    def _repr_pretty_(self, printer, cycle):
        printer.text(str(self))  # notebooks show it whole

    def of(self, layer: str) -> dict[str, Entry]:
        """The entries of one layer, by their names inside it: `trace.of("conv1")["columns"]`."""
        if layer not in self.layers:
            meant = did_you_mean(layer, self.layers)
            raise KeyError(
                f"{layer!r} is no layer of this trace{meant}; it has {', '.join(map(repr, self.layers))}"
            )
        mine = {name: e for name, e in self.items() if e.layer == layer}
        return {name[len(layer) :].lstrip(".") if layer else name: e for name, e in mine.items()}

    # ---- files ----

    def to_npz(self, path) -> Path:
        """All arrays in one .npz file, under their names; np.load reads it. Returns the file's path."""
        path = Path(path)
        if path.suffix != ".npz":
            path = path.with_name(f"{path.name}.npz")
        # np.savez could not write an array called "file".
        with writing_whole(path) as whole, zipfile.ZipFile(whole, "w") as archive:
            for name, entry in self.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, entry.array, allow_pickle=False)
        return path

    def to_hex(
        self, folder, fixed: tuple[int, int] | None = None, names: Iterable[str] | None = None
    ) -> Path:
        """Golden vectors for those who build the network in hardware: a text file for each array, and index.json.

        "conv1.columns.hex" has one number a line, in C order (the last axis runs fastest), as Verilog's $readmemh
        reads it: the 8 hex digits of an IEEE float32. With fixed=(8, 8) it is a two's complement number of 8 bits
        before the point, the sign among them, and 8 after it (Q8.8): 1.5 is 0180. It is rounded to the nearest,
        halves to the even one; what is too large becomes the largest, what is too small the smallest, and
        index.json counts them as "saturated".
        names: only these. Returns the folder.
        What a file's name cannot hold, "/" say, is written as %2f there; index.json has the true names.
        Raises ValueError for a NaN in a fixed-point array, complex numbers, or a format that has no bit or more
        than 32.

        >>> import tempfile
        >>> from minialex.layers import ReLU
        >>> from minialex.tracing.recorder import trace
        >>> folder = trace(ReLU(), np.array([[-1.0, 1.5, 200.0]])).to_hex(tempfile.mkdtemp(), fixed=(8, 8))
        >>> (folder / "x.hex").read_text().split()
        ['ff00', '0180', '7fff']
        """
        if fixed is not None:
            is_pair = isinstance(fixed, (tuple, list)) and len(fixed) == 2 and all(map(is_whole, fixed))
            if not is_pair or fixed[0] < 1 or fixed[1] < 0 or sum(fixed) > 32:
                raise ValueError(
                    f"fixed={fixed}: at least 1 bit before the point, and at most 32 bits together, as fixed=(8, 8)"
                )
        chosen = list(self.values()) if names is None else [self[name] for name in names]
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").unlink(missing_ok=True)  # it is there when all that it names is
        index, taken = [], {"index.json"}
        for entry in chosen:
            words, digits, saturated = _words(entry, fixed)
            file = _file_name(entry.name, taken)
            write_whole(folder / file, "".join(f"{word:0{digits}x}\n" for word in words).encode("ascii"))
            row = {"name": entry.name, "file": file, "shape": entry.shape, "dtype": str(entry.dtype)}
            index.append(row | {"saturated": saturated, "formula": entry.formula})
        number = f"Q{fixed[0]}.{fixed[1]}, two's complement" if fixed else "float32"
        text = json.dumps({"trace": self.title, "numbers": number, "order": "C", "arrays": index}, indent=1)
        write_whole(folder / "index.json", (text + "\n").encode("utf8"))
        return folder

    def to_html(self, path) -> Path:
        """One file that steps through the pass in a browser, alone: no server, no network. Returns its path.

        It shows the first picture of the batch; of large arrays so many channels, rows and columns as are named in
        the page itself. Keys: left and right go from layer to layer, up and down from position to position.
        """
        path = Path(path)
        write_whole(path, stepper.page(self).encode("utf8"))
        return path


def _words(entry, fixed):
    """The numbers of an array as whole ones to print, how many digits each has, and how many were out of reach."""
    flat = entry.array.ravel()
    if flat.dtype.kind == "c":
        raise ValueError(
            f"{entry.name} has complex numbers, which a hex file does not hold: give names= without it"
        )
    if fixed is None:
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity
            return flat.astype(np.float32).view(np.uint32).tolist(), 8, 0
    whole, fraction = fixed
    bits = whole + fraction
    if np.isnan(flat.astype(np.float64)).any():
        raise ValueError(f"{entry.name} has NaN in it, which fixed={fixed} cannot hold")
    scaled = np.rint(flat.astype(np.float64) * 2.0**fraction)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    words = np.clip(scaled, low, high).astype(np.int64) & (2**bits - 1)
    return words.tolist(), -(-bits // 4), int(((scaled < low) | (scaled > high)).sum())


def _file_name(name, taken):
    """A name for this array's file that every system can hold, and that none of `taken` is; it is added to them.

    >>> taken = set()
    >>> [_file_name(name, taken) for name in ("conv1.y", "a/b.y", "A/B.y", "con:1.y", "...y")]
    ['conv1.y.hex', 'a%2fb.y.hex', 'A%2fB.y~2.hex', 'con%3a1.y.hex', '%2e..y.hex']
    """
    safe = FORBIDDEN.sub(lambda found: f"%{ord(found[0]):02x}", name)
    if safe[:1] in (".", " ") or RESERVED.match(safe):
        safe = f"%{ord(safe[0]):02x}{safe[1:]}"
    if len(safe.encode()) > 180:  # of 255 bytes, as a rule
        safe = f"{safe[:40]}~{hashlib.sha256(name.encode('utf8', 'surrogatepass')).hexdigest()[:24]}"
    file, number = f"{safe}.hex", 1
    while (
        folded := unicodedata.normalize("NFC", file).casefold()
    ) in taken:  # "A" and "a" are one on some systems
        number += 1
        file = f"{safe}~{number}.hex"
    taken.add(folded)
    return file
