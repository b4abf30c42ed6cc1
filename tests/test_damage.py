"""Damaged files, thousands of them, through every reader: the right content or an error of ours, and no third thing.

Where a file carries a checksum, a wrong number is as bad as a traceback.
"""

import dataclasses
import gzip
import io
import json
import os
import pickle
import struct
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import small_cifar
from PIL import Image

import minialex as mx
from minialex import weights
from minialex.claims.protocol import Protocol
from minialex.claims.results import read_result
from minialex.claims.store import read_table
from minialex.data import cifar_folders, cifar_published
from minialex.data.classes import read_names
from minialex.data.decode import read_picture
from minialex.data.digits import draw_digits
from minialex.data.mnist import read_idx
from minialex.data.photo import digit_from_picture
from minialex.data.pictures import _check_is_there
from minialex.data.shards import Shards
from minialex.data.truth import _rows
from minialex.errors import CheckpointError, DataError
from minialex.models import lenet5
from minialex.study.benchmarks import kept_record
from minialex.training.checkpoint import load_checkpoint, save_checkpoint
from minialex.training.doubt import learn_doubt, load_doubt, save_doubt
from minialex.training.runs import load_run, read_input, settings_in, write_input
from minialex.weights.records import number
from minialex.weights.unpickle import TORCH_STREAM, read_array, read_npy, read_state_dict, read_torch

OURS = (CheckpointError, DataError, FileNotFoundError)
QUICK, MANY = 60, 1500  # damaged files for each reader

# ---- whole files, and what reads them -----------------------------------------------------------------


def body(value):
    return pickle.dumps(value, 2)[2:-1]


def tensors():
    """{"state_dict": {"w": tensor}} as PyTorch writes it, its six numbers in storage 0."""
    storage = b"(" + body("storage") + b"ctorch\nFloatStorage\n" + body("0") + body("cpu") + body(6) + b"tQ"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + body(0) + body((2, 3)) + body((3, 1)) + b"\x89NtR"
    )
    return b"\x80\x02}" + body("state_dict") + b"}" + body("w") + tensor + b"ss."


def torch_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", tensors())
        archive.writestr("net/data/0", np.arange(6, dtype="<f4").tobytes())
    return file.getvalue()


def torch_stream():
    rest = [1001, {"little_endian": True}]
    numbers = struct.pack("<Q", 6) + np.arange(6, dtype="<f4").tobytes()
    return (
        TORCH_STREAM
        + b"".join(pickle.dumps(r, 2) for r in rest)
        + tensors()
        + pickle.dumps(["0"], 2)
        + numbers
    )


def npy(content=None, protocol=2):
    array = np.empty((), dtype=object)
    array[()] = {"conv1": [np.arange(6.0).reshape(2, 3), np.arange(3.0)]}
    file = io.BytesIO()
    np.save(file, array if content is None else content)
    return file.getvalue()


def safetensors():
    arrays = {"a": np.arange(6, dtype=np.float32), "b": np.arange(4).reshape(2, 2)}
    from safetensors.numpy import save

    return save(arrays)


def checkpoint():
    model = mx.Sequential(fc=mx.Linear(3, 2, rng=0), drop=mx.Dropout(0.5))
    optimizer = mx.SGD(model.parameters(), lr=0.1)
    progress = {"epoch": 1, "step": 0, "history": [{"epoch": 1}]}
    path = Path(os.environ["DAMAGE"]) / "whole.safetensors"
    save_checkpoint(path, model, optimizer, {"progress": progress, "schedule": {}, "settings": {"lr": 0.1}})
    return path.read_bytes()


def saved_input():
    path = Path(os.environ["DAMAGE"]) / "whole.safetensors"
    write_input(path, {"mean": np.ones((3, 4, 4), "f4"), "values": np.ones(3), "vectors": np.eye(3)})
    return path.read_bytes()


def idx():
    return bytes([0, 0, 8, 2]) + struct.pack(">II", 5, 7) + bytes(range(35))


def picture(kind):
    def save():
        pixels = np.random.default_rng(0).integers(180, 256, (24, 21, 3), dtype=np.uint8)
        pixels[4:20, 9:12] = 0  # a digit
        file = io.BytesIO()
        Image.fromarray(pixels).save(
            file, kind, **({"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"} if kind == "PNG" else {})
        )
        return file.getvalue()

    return save


def pixels_of(path):
    return np.asarray(read_picture(path))


def shard_file():
    shards, _ = a_cache(Path(os.environ["DAMAGE"]))
    return shards.paths[0].read_bytes()


def a_cache(folder):
    shards = Shards(folder, [Path("0.jpg"), Path("1.jpg"), Path("2.jpg")], side=4, size=512)
    records = shards.empty(3)
    records["pixels"] = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 4))
    records["good"] = [True, False, True]
    shards.write(np.arange(3), records)
    return shards, records


def squares(path):
    """Opened, or found damaged and left to be made anew; then changed while it is in use."""
    shards = Shards(path.parent, [Path("0.jpg"), Path("1.jpg"), Path("2.jpg")], side=4, size=512)
    content = path.read_bytes()
    shards.paths[0].write_bytes(content)
    read = [shards.read(i) for i in range(3)]
    if shards.missing():
        raise DataError("a shard that is made anew")
    return read


def of_checkpoint(path):
    found = load_checkpoint(path)
    return found.parameters, found.velocities, found.state


SETTINGS = json.dumps({"lr": 0.1, "epochs": 3, "classes": ["a", "b"], "seed": 0, "data": None}).encode()
DRAWN = json.dumps({"train": 20, "val": 10, "size": 32, "seed": 0, "version": 1}, indent=2).encode()


def settings_there(path):
    (path.parent / "settings.json").write_bytes(path.read_bytes())
    return settings_in(path.parent)


def drawn_there(path):
    folder = path.parent / "drawn"
    folder.mkdir(exist_ok=True)
    (folder / "drawn.json").write_bytes(path.read_bytes())
    try:
        return _check_is_there(folder, json.loads(DRAWN))
    except DataError as error:
        if "holds 0 of its 30" in str(error):  # the record is as it was
            return "whole"
        raise


def zipped_cifar():
    return small_cifar.zipped(small_cifar.pictures(small_cifar.records()))


def batch_of_cifar():
    return small_cifar.pickled(small_cifar.records()[0])


def of_small_cifar(path):
    with patch.object(cifar_published, "COUNTS", small_cifar.COUNTS):
        return cifar_folders.ZippedFolders().read(path)


def archive_of_cifar():
    return small_cifar.archive("binary", small_cifar.records())


def unpacked_cifar(path):
    """Though its sum is another one: else that is looked at first, and refused."""
    release = dataclasses.replace(cifar_published.BINARY)
    of_any_sum = patch.object(release, "check_archive")
    with patch.object(cifar_published, "COUNTS", small_cifar.COUNTS), of_any_sum, cifar_published.named(path):
        return release.read_archive(path)


def pickled_cifar(path):
    with cifar_published.named(path):
        return cifar_published._pickled_records(path.read_bytes())


ONE = np.zeros((1, 1, 28, 28), np.uint8)


def second_network():
    with tempfile.TemporaryDirectory() as place:
        save_doubt(Path(place, "d"), learn_doubt(lenet5(), *draw_digits(60)))
        return Path(place, "d").read_bytes()


@dataclass(frozen=True)
class Reader:
    name: str  # of its file
    whole: object
    read: object
    sealed: bool = False  # is there a checksum over all that is read?
    more: tuple = ()  # what else may be raised, with a message


CLAIM = json.dumps(
    {
        "name": "a",
        "protocol": "b",
        "verdict": "c",
        "finished": True,
        "runs": 2,
        "of": 2,
        "minutes": 1.5,
        "values": [0.5],
    }
).encode()
RESULT = json.dumps(
    {"settings": {"seed": 0, "limit": 10}, "epochs": [{"seconds": 0.5}, {"seconds": 1.25}]}
).encode()
PROTOCOL = b"""claim = "a"
source = "b"
outcome = "c"
delta = 0.5
paired = "d"
seeds = 10
rates = [0.01, 0.1, 1.0]
begin = 0.1
rate_seeds = [100]
epochs = 2
pictures = 9
"""
READERS = {
    "npy of pickles": Reader("net.npy", npy, read_npy),
    "npy of numbers": Reader("mean.npy", lambda: npy(np.arange(12, dtype="f4").reshape(3, 2, 2)), read_array),
    "torch, zip": Reader("net.pth", torch_zip, read_torch, sealed=True),
    "torch, stream": Reader("net.pth", torch_stream, read_torch),
    "state dict": Reader("net.pth", torch_zip, read_state_dict, sealed=True),
    "safetensors": Reader("w.safetensors", safetensors, weights.load),
    "checkpoint": Reader("c.safetensors", checkpoint, of_checkpoint, sealed=True),
    "checkpoint as a run": Reader("c.safetensors", checkpoint, load_run, sealed=True),
    "checkpoint as weights": Reader("c.safetensors", checkpoint, weights.load, sealed=True),
    "input": Reader("input.safetensors", saved_input, read_input),
    "second network": Reader(
        "doubt.safetensors",
        second_network,
        lambda path: load_doubt(path, lenet5()).margins(lenet5(), ONE),
        sealed=True,
    ),
    "idx": Reader("idx", idx, read_idx),
    "idx, gzip": Reader("idx.gz", lambda: gzip.compress(idx(), mtime=0), read_idx, sealed=True),
    "cifar, zip": Reader("cifar10_jpeg.zip", zipped_cifar, of_small_cifar, sealed=True),
    "cifar, tar": Reader("cifar-10-binary.tar.gz", archive_of_cifar, unpacked_cifar),
    "cifar, pickle": Reader("data_batch_1", batch_of_cifar, pickled_cifar),
    "png": Reader("p.png", picture("PNG"), pixels_of, sealed=True),
    "jpeg": Reader("p.jpg", picture("JPEG"), pixels_of),
    "gif": Reader("p.gif", picture("GIF"), pixels_of),
    "bmp": Reader("p.bmp", picture("BMP"), pixels_of),
    "digit": Reader("p.png", picture("PNG"), lambda path: digit_from_picture(path).image, sealed=True),
    "digit, jpeg": Reader("p.jpg", picture("JPEG"), lambda path: digit_from_picture(path).image),
    "shard": Reader("shard", shard_file, squares, sealed=True),
    "settings": Reader("s.json", lambda: SETTINGS, settings_there),
    "drawn": Reader("d.json", lambda: DRAWN, drawn_there),
    "names": Reader(
        "names.txt", lambda: b"cat\ndog\nfish\n", lambda path: read_names(path, 3), more=(ValueError,)
    ),
    "protocol": Reader("protocol.toml", lambda: PROTOCOL, Protocol.read, more=(ValueError,)),
    "table of runs": Reader(
        "runs.csv", lambda: b"arm,settings,seed,rate\na,abc,0,0.01\nb,abd,1,0.3\n", read_table
    ),
    "result of a claim": Reader("result.json", lambda: CLAIM, lambda path: read_result(path.parent)),
    "result of a training": Reader(
        "result.json",
        lambda: RESULT,
        lambda path: kept_record(path, None, {"epochs": [{"seconds": number()}]}),
    ),
    "ground truth": Reader("truth.txt", lambda: b"a 1\nb 2\nc 3\n", _rows),
}

# ---- damage -------------------------------------------------------------------------------------------


def damaged(content: bytes, rng) -> bytes:
    """Bits flipped, bytes lost, doubled, put in or written over, the end cut off or drawn out."""
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 9))
    junk = rng.bytes(length)
    match rng.integers(9):
        case 0 | 1 | 2:
            changed = bytearray(content)
            for _ in range(rng.integers(1, 4)):
                changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
            return bytes(changed)
        case 3:
            return content[:place]
        case 4:
            return content[:place] + junk + content[place:]
        case 5:
            return content[:place] + content[place + length :]
        case 6:
            return content[:place] + junk + content[place + length :]
        case 7:
            return content[:place] + b"\xff" * length + content[place + length :]
    return content[:place] + content[max(0, place - 4 * length) : place] + content[place:]


def same(found, wanted) -> bool:
    """Equal, bit by bit."""
    if isinstance(wanted, np.ndarray):
        return isinstance(found, np.ndarray) and found.dtype == wanted.dtype and np.array_equal(found, wanted)
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return found == wanted


@pytest.mark.parametrize("count", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)], ids=["a few", "many"])
@pytest.mark.parametrize("kind", READERS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_damaged_file_is_read_right_or_refused_by_name(tmp_path, monkeypatch, kind, count):
    monkeypatch.setenv("DAMAGE", str(tmp_path))
    reader = READERS[kind]
    content, path = reader.whole(), tmp_path / reader.name
    path.write_bytes(content)
    wanted = reader.read(path)
    rng = np.random.default_rng(len(content))
    told = Counter()
    for _ in range(count):
        changed = damaged(content, rng)
        path.write_bytes(changed)
        started = time.process_time()
        try:
            found = reader.read(path)
        except (*OURS, *reader.more) as error:
            told["refused" if len(str(error)) < 1200 else "too long"] += 1
        else:
            told["unchanged" if same(found, wanted) else "other"] += 1
            assert not reader.sealed or same(found, wanted), changed
        assert time.process_time() - started < 5
    print(f"{kind}: {dict(told)}")
    assert told["refused"]
    assert not told["too long"]
