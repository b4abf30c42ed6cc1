"""MNIST: find its four IDX files or download them, check every byte, and read them.

MNIST (LeCun, Cortes, Burges 1998) is 70,000 handwritten digits of 28x28 pixels, light ink on a dark ground:
60,000 to train with, 10,000 to test with. It comes as four files, two of pictures and two of labels, in a
format so plain that this module reads it by hand (see `read_idx`).

A file counts as MNIST only when the MD5 sum of its *uncompressed* bytes is the published one. gzip's own
wrapping differs between mirrors, the bytes inside do not.
"""

import gzip
import hashlib
import math
import os
import queue
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from minialex.errors import DataError, DownloadFailed
from minialex.weights.reading import PIECE

Pictures = tuple[np.ndarray, np.ndarray]  # images (N, 1, 28, 28) and labels (N,)

# The original host answers 403 nowadays; these two have kept copies for years.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# The files in the order in which `load_mnist` returns them, with the MD5 of their uncompressed bytes.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

ANSWER_SECONDS = 4  # a mirror that has not said a word by then is given up
STALL_SECONDS = 10  # a download that stands still for so long is given up

GZIP_MAGIC = b"\x1f\x8b"
MOST_OF_MNIST = 60_000 * 28 * 28  # bytes after a header: the training pictures
MOST_BYTES = 2**30  # in any other IDX file: EMNIST's largest has 547 million
ONE_GO = 100_000_000  # a packed file that should hold more is read once to count, and then once more
UNSIGNED_BYTES = 0x08  # IDX's code for uint8, the only element type that MNIST uses


def load_mnist(root: str | os.PathLike | None = None, download: bool = True) -> tuple[Pictures, Pictures]:
    """`(train_x, train_y), (test_x, test_y)`: pictures uint8 (N, 1, 28, 28) from 0 to 255, labels uint8 (N,).

    With `root`, the files are looked for in `root`, `root/mnist` and `root/MNIST/raw` (torchvision's place),
    gzipped or not; what is missing is downloaded into `root`. Without, the folder named by the environment
    variable MINIALEX_DATA is searched in the same way, then the user's cache, which also takes the download.

    Raises FileNotFoundError when files are missing and `download` is False, DownloadFailed when no mirror
    delivers, and DataError when a file is damaged or is not MNIST's.
    """
    folders, home = _folders_to_search(root)
    missing = [name for name in MD5 if _find(name, folders) is None]
    if missing and not download:
        raise FileNotFoundError(_what_is_missing(missing, folders))
    if missing:
        _download(missing, home)
        folders = [*folders, home]
    train_x, train_y, test_x, test_y = (_read(_find(name, folders), MD5[name]) for name in MD5)
    return (train_x[:, None], train_y), (test_x[:, None], test_y)  # (N, 28, 28) -> (N, 1, 28, 28)


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzipped or not (its first bytes tell, not its name).

    An IDX file is a short header and then the elements, in C order. All header numbers are big-endian:

        bytes 0-1   zero
        byte 2      the type of the elements: 0x08 means unsigned bytes
        byte 3      how many dimensions there are: 3 for MNIST's pictures, 1 for its labels
        then        4 bytes for each dimension: its size

    So MNIST's pictures begin 00 00 08 03 (the "magic number" 2051), 0000ea60 (60,000 pictures),
    0000001c (28 rows), 0000001c (28 columns).

    Returns a new, writable uint8 array. Raises FileNotFoundError, or DataError when the file is cut short,
    damaged, of another kind, or should hold more than 2^30 bytes. No more is unpacked than the header speaks of.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "six-pixels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes([7, 8, 9, 10, 11, 12]))
    ...     read_idx(path)
    array([[ 7,  8,  9],
           [10, 11, 12]], dtype=uint8)
    """
    return _read(Path(path))


# -- Reading -----------------------------------------------------------------------------------------------


class _Flaw(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with the file's name or address."""


def _read(path: Path, md5: str | None = None) -> np.ndarray:
    """The array in a local IDX file, which must have the sum `md5` if one is given."""
    try:
        return _checked(path, md5)
    except _Flaw as flaw:
        raise DataError(f"{path} {flaw}. Delete it and fetch it again.") from flaw


def _checked(path: Path, md5: str | None) -> np.ndarray:
    if not path.is_file():  # a pipe or a device may never end
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        try:
            if packed:
                return _parsed(gzip.GzipFile(fileobj=file), None, md5)
            return _parsed(file, os.fstat(file.fileno()).st_size, md5)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _Flaw(f"is a damaged gzip file ({error})") from error


def _parsed(content, size: int | None, md5: str | None) -> np.ndarray:
    """The array that an IDX file describes, from its uncompressed bytes; of them no more is read than it can have.

    size: how many they are, if that is known.
    """
    start = content.read(4)
    zeros, kind, dimensions = struct.unpack(">HBB", start.ljust(4, b"\0"))
    if zeros != 0 or kind != UNSIGNED_BYTES or dimensions == 0:
        raise _Flaw(
            "is not an IDX file of unsigned bytes: that begins with 00 00 08 and the number of dimensions, "
            f"this with {start.hex(' ') or 'nothing'}"
        )
    sizes = content.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise _Flaw(f"ends after {4 + len(sizes)} bytes, inside its header of {4 + 4 * dimensions}")
    shape = struct.unpack(f">{dimensions}I", sizes)
    wanted, most = math.prod(shape), MOST_BYTES if md5 is None else MOST_OF_MNIST
    sides = " x ".join(map(str, shape)) if dimensions <= 8 else f"{dimensions} sides"
    said = f"should hold {sides} = {wanted if wanted < 2**64 else 'too many'} bytes after its header"
    if wanted > most:
        raise _Flaw(f"{said}; the most is {most}")
    if size is not None:
        _compare(size - content.tell(), wanted, said)
    elif wanted > ONE_GO:  # before memory is taken for them
        _count(content, wanted, said)
        content.seek(4 + 4 * dimensions)
    elements = np.empty(wanted, np.uint8)
    found = 0
    while found < wanted and (count := content.readinto(elements[found : found + PIECE])):
        found += count
    _compare(found + len(content.read(1)), wanted, said, " or more")
    if md5 is not None:  # "cut short" says more than "another sum", so this is last
        _check_sum((start, sizes, elements), md5)
    try:
        return elements.reshape(shape)
    except ValueError as error:  # more than 64 dimensions, say
        raise _Flaw(f"has a shape that NumPy cannot hold ({error})") from error


def _count(content, wanted: int, said: str) -> None:
    """Look whether there are so many bytes, and one more at most, without keeping them."""
    piece, found = bytearray(PIECE), 0
    while found <= wanted and (count := content.readinto(piece)):
        found += count
    _compare(min(found, wanted + 1), wanted, said, " or more")


def _compare(found: int, wanted: int, said: str, or_more: str = "") -> None:
    if found != wanted:
        raise _Flaw(f"{said}, but holds {found}{or_more if found > wanted else ''}")


def _check_sum(parts: Iterable, md5: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    found = digest.hexdigest()
    if found != md5:
        raise _Flaw(
            f"is not MNIST's: the MD5 of its uncompressed bytes is {found}, expected {md5} "
            "(to read another data set in this format, use read_idx)"
        )


# -- Finding -----------------------------------------------------------------------------------------------


def _folders_to_search(root: str | os.PathLike | None) -> tuple[list[Path], Path]:
    """Where the files may be, best place first, and where a download goes."""
    if root is not None:
        return _with_usual_subfolders(root), Path(root).expanduser()
    named = os.environ.get("MINIALEX_DATA")
    cache = _cache_folder()
    return [*(_with_usual_subfolders(named) if named else []), cache], cache


def _with_usual_subfolders(root: str | os.PathLike) -> list[Path]:
    root = Path(root).expanduser()
    return [root, root / "mnist", root / "MNIST" / "raw"]


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("minialex")) / "mnist"


def _find(name: str, folders: Iterable[Path]) -> Path | None:
    """The first file called `name`, or the same with `.idx` for `-idx`, with `.gz` behind it or without."""
    spellings = [name + end for name in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    candidates = (folder / spelling for folder in folders for spelling in spellings)
    return next((path for path in candidates if path.is_file()), None)


def _what_is_missing(missing: list[str], folders: list[Path]) -> str:
    return (
        f"MNIST is incomplete. Missing: {', '.join(missing)} (with or without .gz). "
        f"Looked in: {', '.join(map(str, folders))}. "
        "Allow the download with load_mnist(download=True), copy the files there, or set the environment "
        "variable MINIALEX_DATA to their folder. load_drawn_digits() needs no files at all."
    )


# -- Downloading -------------------------------------------------------------------------------------------


def _download(names: list[str], home: Path) -> None:
    """Bring these files into the folder `home`, each under its name only when it is whole and right."""
    new = not home.exists()
    mirrors = list(MIRRORS)
    # The scratch folder lies inside `home`, hence on the same disk: there os.replace is a rename, which
    # either happens or doesn't. A process killed half-way leaves a scratch folder behind, never half a file.
    try:
        with _scratch(home) as scratch:
            for name in names:
                mirror = _fetch_from_any(mirrors, name, Path(scratch), home)
                mirrors.sort(key=lambda other: other != mirror)  # what worked is asked first next time
    except DownloadFailed:
        if new:
            with suppress(OSError):  # another run's download is under way there
                home.rmdir()
        raise
    except OSError as error:
        raise OSError(
            error.errno, f"MNIST could not be written to {home}: {error.strerror or error}"
        ) from error


def _scratch(home: Path) -> tempfile.TemporaryDirectory:
    """A folder in `home`, which is made; another run, whose download has failed, may remove it just then."""
    for _ in range(10):
        home.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return tempfile.TemporaryDirectory(prefix="download-", dir=home)
    return tempfile.TemporaryDirectory(prefix="download-", dir=home)


def _fetch_from_any(mirrors: list[str], name: str, scratch: Path, home: Path) -> str:
    """Fetch one file from the first mirror that has a good one, and return that mirror."""
    import requests

    file = name + ".gz"
    answers = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file}"
        try:
            _fetch(url, scratch / file)
            _checked(scratch / file, MD5[name])
        except requests.RequestException as error:
            answers.append(f"  {url}: {_in_words(error)}")
        except _Flaw as flaw:
            answers.append(f"  {url}: the file there {flaw}")
        else:
            os.replace(scratch / file, home / file)
            return mirror
    raise DownloadFailed(
        "\n".join([f"No mirror delivered a good {file}:", *answers])
        + f"\nGet the four files in another way and put them into {home} (or set MINIALEX_DATA to their "
        "folder), or do without: load_drawn_digits() draws its digits on this machine."
    )


def _fetch(url: str, path: Path) -> None:
    """Download `url` to `path`, with a progress bar. Raises what requests raises."""
    import pooch
    from tqdm.auto import tqdm

    class Bar(tqdm):
        def __bool__(self):  # pooch asks; a bar without a total would count as no bar
            return True

        def update(self, n=1):
            super().update(n)
            if self.n > MOST_OF_MNIST:
                raise _Flaw(
                    f"goes on after {self.n:,} bytes; MNIST's have {MOST_OF_MNIST:,} at most, unpacked"
                )

    _knock(url)
    with Bar(desc=path.name, unit="B", unit_scale=True) as bar:
        download = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=65536,
            timeout=(ANSWER_SECONDS, STALL_SECONDS),
            headers={"Accept-Encoding": "identity"},  # the .gz as it is, please, not unpacked on the way
        )
        download(url, str(path), None)


def _knock(url: str) -> None:
    """Return as soon as the host of `url` says anything at all; raise when it doesn't within ANSWER_SECONDS.

    A time-out given to requests counts anew for each address of a host, and a big host has a dozen: behind a
    firewall that drops packets, that is a minute of silence. So a thread asks, and we stop waiting for it.
    """
    import requests

    outcome = queue.SimpleQueue()

    def ask():
        try:
            requests.head(url, timeout=ANSWER_SECONDS)
            outcome.put(None)
        except Exception as error:  # whatever it is, it belongs to the thread that waits
            outcome.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = outcome.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        error = requests.ConnectTimeout()
    if error is not None:
        raise error


def _in_words(error: Exception) -> str:
    """What a mirror answered, in a few words: requests' own messages are long and nested."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    words = {
        "NameResolutionError": "its name could not be looked up (is there a network?)",
        "refused": "it refused the connection",
        "Read timed out": f"it fell silent for {STALL_SECONDS} s in the middle of the file",
        "IncompleteRead": "the connection broke off in the middle of the file",
    }
    return next((plain for sign, plain in words.items() if sign in repr(error)), str(error))
