"""MNIST: find its four IDX files or download them, check every byte, and read them.

MNIST (LeCun, Cortes, Burges 1998) is 70,000 handwritten digits of 28x28 pixels, light ink on a dark ground:
60,000 to train with, 10,000 to test with. It comes as four files, two of pictures and two of labels (see idx.py).

A file counts as MNIST only when the MD5 sum of its *uncompressed* bytes is the published one. gzip's own
wrapping differs between mirrors, the bytes inside do not.
"""

import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from minialex.data.idx import Flaw, read_checked, read_idx, sum_of_file
from minialex.data.known_sets import SETS, how_to_load, whose
from minialex.errors import DataError, DownloadFailed
from minialex.words import yes_or_no

__all__ = ["load_mnist", "read_idx"]

Pictures = tuple[np.ndarray, np.ndarray]  # images (N, 1, 28, 28) and labels (N,)

MIRRORS = SETS["mnist"].mirrors

# The files in the order in which `load_mnist` returns them, with the MD5 of their uncompressed bytes.
MD5 = {name: sums.plain for name, sums in SETS["mnist"].files.items()}

ANSWER_SECONDS = 4  # a mirror that has not said a word by then is given up
PIECE = 65_536  # bytes that are fetched at a time
STALL_SECONDS = 10  # a download that stands still for so long is given up

MOST_OF_MNIST = 60_000 * 28 * 28  # bytes after a header: the training pictures


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
    if missing and not yes_or_no(download, "download"):
        raise FileNotFoundError(_what_is_missing(missing, folders, root))
    if missing:
        files = [f"{name}.gz" for name in missing]
        download_files(files, home, "MNIST", MIRRORS, MOST_OF_MNIST, _check_downloaded, root=root)
        folders = [*folders, home]
    train_x, train_y, test_x, test_y = (_read(_find(name, folders), MD5[name]) for name in MD5)
    return (train_x[:, None], train_y), (test_x[:, None], test_y)  # (N, 28, 28) -> (N, 1, 28, 28)


# -- Reading -----------------------------------------------------------------------------------------------


def _read(path: Path, md5: str) -> np.ndarray:
    """The array in a local IDX file, which must have the sum `md5`."""
    try:
        return _checked(path, md5)
    except Flaw as flaw:
        raise DataError(f"{path} {flaw}. {flaw.remedy}") from flaw


def _checked(path: Path, md5: str) -> np.ndarray:
    def check(found):
        if found == md5:
            return
        if other := whose(found, sum_of_file(path)):
            raise Flaw(
                f"is not MNIST's but {SETS[other[0]].title}'s, by its MD5", how_to_load(other[0], path.parent)
            )
        raise Flaw(
            f"is not MNIST's: the MD5 of its uncompressed bytes is {found}, expected {md5} "
            "(to read another data set in this format, use read_idx)"
        )

    return read_checked(path, MOST_OF_MNIST, check)


def _check_downloaded(path: Path) -> None:
    _checked(path, MD5[path.name.removesuffix(".gz")])


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
    return [root, *(root / folder for folder in SETS["mnist"].folders)]


def places(name: str, below: Iterable[str], root: str | os.PathLike | None) -> tuple[list[Path], Path]:
    """Where a set of that name may be, best place first, and where a download of it goes.

    below: folders in which it may lie in the one that is given, or that MINIALEX_DATA names.
    """
    cache = _cache_folder().parent / name
    folders: list[Path] = []
    if place := root if root is not None else os.environ.get("MINIALEX_DATA"):
        place = Path(place).expanduser()
        folders = [place, *(place / folder for folder in below)]
    return (folders, Path(root).expanduser() / name) if root is not None else ([*folders, cache], cache)


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("minialex")) / "mnist"


def _find(name: str, folders: Iterable[Path]) -> Path | None:
    """The first file called `name`, or the same with `.idx` for `-idx`, with `.gz` behind it or without."""
    return next(all_called(name, folders), None)


def all_called(name: str, folders: Iterable[Path], ends=("", ".gz")) -> Iterator[Path]:
    """The files of that name, in any of its spellings."""
    spellings = [name + end for name in (name, name.replace("-idx", ".idx")) for end in ends]
    candidates = (folder / spelling for folder in folders for spelling in spellings)
    return (path for path in candidates if path.is_file())


def not_there(root: str | os.PathLike | None) -> str:
    """A sentence where the folder that was given is none; else nothing."""
    if root is None or Path(root).expanduser().is_dir():
        return ""
    return f"There is no folder {Path(root).expanduser()}: is it spelt right?"


def _what_is_missing(missing: list[str], folders: list[Path], root=None) -> str:
    return (f"{note} " if (note := not_there(root)) else "") + (
        f"MNIST is incomplete. Missing: {', '.join(missing)} (with or without .gz). "
        f"Looked in: {', '.join(map(str, folders))}. "
        "Allow the download with load_mnist(download=True), copy the files there, or set the environment "
        "variable MINIALEX_DATA to their folder. load_drawn_digits() needs no files at all."
    )


# -- Downloading -------------------------------------------------------------------------------------------


INSTEAD = ", or do without: load_drawn_digits() draws its digits on this machine."


def download_files(
    files: list[str],
    home: Path,
    title: str,
    mirrors: Iterable[str],
    most: int,
    check: Callable[[Path], None],
    instead: str = INSTEAD,
    root: str | os.PathLike | None = None,
) -> None:
    """Bring these files of a set into the folder `home`, each under its name only when it is whole and right.

    most: bytes in any of them. check: raises a Flaw for a file that is not right. instead: what else one may do.
    root: the folder that the caller was given; a failure leaves none behind that was not there, and says so.
    """
    new = [folder for folder in (home, *home.parents) if not folder.exists()]
    mirrors = list(mirrors)
    # The scratch folder lies inside `home`, hence on the same disk: there os.replace is a rename, which
    # either happens or doesn't. A process killed half-way leaves a scratch folder behind, never half a file.
    try:
        with _scratch(home) as scratch:
            for file in files:
                mirror = _fetch_from_any(mirrors, file, Path(scratch), home, title, most, check, instead)
                mirrors.sort(key=lambda other: other != mirror)  # what worked is asked first next time
    except DownloadFailed as error:
        with suppress(OSError):  # another run's download is under way there
            for folder in new:
                folder.rmdir()
        if note := not_there(root):
            raise DownloadFailed(f"{note}\n{error}") from error
        raise
    except OSError as error:
        raise OSError(
            error.errno, f"{title} could not be written to {home}: {error.strerror or error}"
        ) from error


def _scratch(home: Path) -> tempfile.TemporaryDirectory:
    """A folder in `home`, which is made; another run, whose download has failed, may remove it just then."""
    for _ in range(10):
        home.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return tempfile.TemporaryDirectory(prefix="download-", dir=home)
    return tempfile.TemporaryDirectory(prefix="download-", dir=home)


def _fetch_from_any(mirrors, file: str, scratch: Path, home: Path, title, most, check, instead) -> str:
    """Fetch one file from the first mirror that has a good one, and return that mirror."""
    import requests

    answers = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file}"
        try:
            fetch(url, scratch / file, title, most)
            check(scratch / file)
        except requests.RequestException as error:
            answers.append(f"  {url}: {in_words(error)}")
        except Flaw as flaw:
            answers.append(f"  {url}: the file there {flaw}")
        else:
            os.replace(scratch / file, home / file)
            return mirror
    raise DownloadFailed(
        "\n".join([f"No mirror delivered a good {file}:", *answers])
        + f"\nGet the files in another way and put them into {home} (or set MINIALEX_DATA to their folder)"
        + instead
    )


def fetch(url: str, path: Path, title: str, most: int) -> None:
    """Download `url` to `path`, with a progress bar. Raises what requests raises, and Flaw after `most` bytes."""
    import pooch
    from tqdm.auto import tqdm

    class Bar(tqdm):
        def __bool__(self):  # pooch asks; a bar without a total would count as no bar
            return True

        def update(self, n=1):
            super().update(n)
            if (found := self.n - PIECE) >= most:  # pooch counts whole pieces
                raise Flaw(f"goes on after {found:,} bytes; {title}'s have {most:,} at most, unpacked")

    _knock(url)
    with Bar(desc=path.name, unit="B", unit_scale=True) as bar:
        download = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=PIECE,
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


def in_words(error: Exception) -> str:
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
