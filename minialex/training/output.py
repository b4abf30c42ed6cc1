"""Where a program's results go: a folder that no other program writes to meanwhile."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from minialex.errors import FolderInUse
from minialex.training.lock import locked
from minialex.training.runs import (
    SETTINGS,
    NothingToResume,
    advice_when_stopped,
    check_is_there,
    choose_folder,
    make_writable,
    names_a_file,
    not_of_a_run,
    weights_kept,
)
from minialex.words import typed


class Output:
    """The folder that --resume, --output-dir or nobody named: `with Output(...) as output: folder = output.take()`.

    A run that goes on where it was has its folder from the start, before its checkpoint is read; any other takes one
    when its settings are known to be good, so that bad ones leave nothing behind. It is let go when the `with` ends.

    Raises NothingToResume where there is nothing to resume, ValueError when --output-dir holds another run, FolderInUse
    when a run is writing there. With neither named, it is runs/`name`, or the next runs/`name`-N that is free; with
    `again` those are free that only hold results, and they are written over.
    """

    def __init__(self, resume: str | None, output_dir: str | None, name: str, again: bool = False):
        self.resume, self.output_dir, self.name, self.again = resume, output_dir, name, again
        self.folder: Path | None = None
        self._locks = ExitStack()

    def __enter__(self) -> "Output":
        if self.resume is not None:
            folder = choose_folder(self.resume, self.output_dir, self.name)
            if not (self.output_dir and _same(folder, self.resume)):  # "go on there, if there is something"
                try:
                    check_is_there(self.resume)
                except FileNotFoundError as error:
                    raise NothingToResume(f"--resume: {error}") from None
            if folder.is_dir() and _same(folder, self.resume):
                self._lock(folder)
        return self

    def take(self) -> Path:
        self.folder = self._chosen() if self.resume or self.output_dir else self._next_free()
        return self.folder

    def __exit__(self, kind, error, trace) -> None:
        self._locks.close()
        if kind is KeyboardInterrupt and not error.args and self.folder:
            raise KeyboardInterrupt(advice_when_stopped(self.folder)) from None

    def _chosen(self):
        self._lock(choose_folder(self.resume, self.output_dir, self.name))
        return choose_folder(self.resume, self.output_dir, self.name)  # a run may have ended there just now

    def _next_free(self):
        folders = (Path("runs", self.name if n == 1 else f"{self.name}-{n}") for n in range(1, 10_000))
        for folder in folders:
            with ExitStack() as kept:
                if self._is_free(folder):
                    make_writable(folder)
                    try:
                        kept.enter_context(locked(folder))
                    except FolderInUse:
                        continue
                    if self._is_free(folder):  # still, now that nobody else can begin there
                        self._locks.push(kept.pop_all())
                        for name in weights_kept(folder):  # only with `again`: else there are none
                            (folder / name).unlink()
                        return folder
        raise ValueError(f"runs/{self.name} to {folder.name} are all taken: name another --output-dir")

    def _is_free(self, folder):
        return self.again or not (
            (folder / SETTINGS).exists() or weights_kept(folder) or not_of_a_run(folder)
        )

    def _lock(self, folder):
        make_writable(folder)
        self._locks.enter_context(locked(folder))


class Elsewhere(Output):
    """For a process that does not keep its results, since another one does: a folder that goes when it ends."""

    def __init__(self, name: str):
        super().__init__(None, None, name)

    def take(self) -> Path:
        self.folder = Path(self._locks.enter_context(TemporaryDirectory(prefix="minialex-")))
        return self.folder


def _same(folder, resume):
    """Does --resume name this folder, or a file in it?"""
    resumed = Path(resume)
    return folder.resolve() == (resumed.parent if names_a_file(resumed) else resumed).resolve()


@contextmanager
def drawing(folder: Path) -> Iterator[None]:
    """While a finished run is drawn: what to do, should that be cut short."""
    advice = (
        f"The run is finished and its weights are safe; what is missing is made by --resume {typed(folder)}"
    )
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(advice) from None
    except OSError:
        print(advice, file=sys.stderr)
        raise
