"""A learner's folder for each test, and an answer put there as keep puts it, without checking it once more."""

import pytest

from minialex.check.kept import folder
from minialex.check.kept.folder import as_file, file_of
from minialex.check.kept.keeping import with_name


@pytest.fixture
def mine_folder(tmp_path, monkeypatch):
    """The folder `mine` in an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIALEX_MINE", raising=False)
    monkeypatch.setattr(folder, "_chosen", [])
    return tmp_path / "mine"


@pytest.fixture
def kept(mine_folder):
    """kept(name, function, state="right"): the file as keep leaves it."""

    def put(name, function, state="right"):
        path = file_of(name, mine_folder, slow=state == "slow")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_file(name, with_name(name, function), state, 0.01, "as a test has it"))
        return path

    return put
