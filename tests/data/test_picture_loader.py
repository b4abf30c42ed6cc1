"""PictureBatches: the same batches however they are read, bad files skipped and named, every end a clean one."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from running import LONG, wait_until

from minialex.data import loader, shards
from minialex.data.augment import Colour, Prepare, centre_crop, square
from minialex.data.folder import PictureList, find_pictures, read_picture
from minialex.data.loader import ArrayBatches, DummyBatches, PictureBatches
from minialex.data.small import Cropped
from minialex.errors import DataError

PREPARE = Prepare(crop=12, mean=110.0, std=64.0, colour=Colour.PUBLISHED)
COUNT = 23


def draw_folder(root):
    """23 pictures of three classes, each of one colour of its own with some noise."""
    rng = np.random.default_rng(1)
    for i in range(COUNT):
        path = root / "train" / "abc"[i % 3] / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (*rng.integers(18, 40, 2), 3)
        pixels = rng.integers(0, 200, 3) + rng.integers(0, 50, shape)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path)


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory):
    """The same for tests that change nothing."""
    return draw_folder(tmp_path_factory.mktemp("whole"))


def threads_of_a_loader():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    wait_until(
        lambda: not threads_of_a_loader()
    )  # Ctrl-C can meet one while it is started: it ends by itself


def batches_of(folder, **settings):
    settings = {"batch_size": 5, "seed": 3, "workers": 2, "side": 16, **settings}
    return PictureBatches(find_pictures(folder), settings.pop("prepare", PREPARE), **settings)


def spoil(folder, *numbers):
    """Make the pictures with these places in the list unreadable."""
    files = find_pictures(folder).files
    for k, i in enumerate(numbers):
        files[i].write_bytes([b"no picture", files[i].read_bytes()[:200]][k % 2])
    return [files[i] for i in numbers]


def assert_same(some, others):
    for (x, labels), (other_x, other_labels) in zip(some, others, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(labels, other_labels)


# -- The batches -------------------------------------------------------------------------------------------


def test_in_order_are_the_middles_of_all_pictures(whole_folder):
    batches = batches_of(whole_folder)
    x, labels = (np.concatenate(parts) for parts in zip(*batches.in_order(), strict=True))
    assert (x.dtype, x.shape, len(batches)) == (np.float32, (COUNT, 3, 12, 12), 5)
    np.testing.assert_array_equal(labels, batches.labels)
    stored = [square(read_picture(file, 16), 16) for file in batches.pictures.files]
    np.testing.assert_allclose(x, (centre_crop(np.stack(stored), 12) - 110.0) / 64.0, rtol=1e-5, atol=1e-6)


def test_an_epoch_has_every_picture_once_in_another_order_each_time(whole_folder):
    batches = batches_of(whole_folder)
    epochs = [np.concatenate([labels for _, labels in batches.shuffled(epoch)]) for epoch in (0, 1)]
    for labels in epochs:
        assert np.bincount(labels).tolist() == np.bincount(batches.labels).tolist()
    assert epochs[0].tolist() != epochs[1].tolist()


@given(st.integers(0, 99), st.integers(0, 9), st.integers(1, 30), st.sampled_from([1, 4]))
def test_batches_are_the_same_for_any_number_of_workers(whole_folder, seed, epoch, batch_size, workers):
    alone, many = (
        batches_of(whole_folder, seed=seed, batch_size=batch_size, workers=n) for n in (0, workers)
    )
    assert_same(alone.shuffled(epoch), many.shuffled(epoch))


@given(st.integers(1, 30), st.integers(0, 9), st.data())
def test_an_epoch_entered_in_the_middle_goes_on_as_if_never_left(whole_folder, batch_size, epoch, data):
    batches = batches_of(whole_folder, batch_size=batch_size)
    start = data.draw(st.integers(0, len(batches)))
    assert_same(list(batches.shuffled(epoch))[start:], batches.shuffled(epoch, start))


def test_crops_hang_on_seed_epoch_and_picture(tmp_path):
    """All pictures are the same one; where its crop lies, and its colour, are not."""
    x, y = np.indices((16, 16))
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([x, y, x + y], axis=2).astype(np.uint8)).save(tmp_path / "train" / name)
    inputs = [
        picture.tobytes()
        for seed in (0, 1)
        for epoch in (0, 1)
        for pictures, _ in batches_of(tmp_path, seed=seed).shuffled(epoch)
        for picture in pictures
    ]
    assert len(set(inputs)) == len(inputs) == 2 * 2 * 3


def test_ten_crops_come_in_batches_ten_times_smaller(whole_folder):
    batches = batches_of(whole_folder, batch_size=40)
    ten = list(batches.in_order(ten_crop=True))
    assert [x.shape for x, _ in ten[:1] + ten[-1:]] == [(4, 10, 3, 12, 12), (3, 10, 3, 12, 12)]
    ((middles, labels),) = batches.in_order()
    np.testing.assert_array_equal(np.concatenate([x for x, _ in ten])[:, 4], middles)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in ten]), labels)


def test_squares_are_for_the_mean_and_a_few_of_them_are_spread_evenly(whole_folder):
    batches = batches_of(whole_folder)
    squares = list(batches.squares())
    assert (len(squares), squares[0].shape, squares[0].dtype) == (COUNT, (3, 16, 16), np.uint8)
    np.testing.assert_array_equal(list(batches.squares(3)), [squares[0], squares[11], squares[22]])


def test_the_preparation_may_be_set_anew(whole_folder):
    batches = batches_of(whole_folder)
    batches.prepare = Prepare(crop=9)
    assert next(batches.in_order())[0].shape == (5, 3, 9, 9)


def test_the_next_batches_are_made_while_the_caller_computes(whole_folder, monkeypatch):
    read = []
    monkeypatch.setattr(loader, "read_picture", lambda *args: read.append(args) or read_picture(*args))
    stream = batches_of(whole_folder, batch_size=2).shuffled(0)
    next(stream)
    wait_until(lambda: len(read) >= 6)
    time.sleep(0.05)
    assert len(read) == 2 * (1 + loader.AHEAD)  # and no more: the queue is bounded
    stream.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, not 0"),
        ({"workers": -1}, "workers must be 0 or more, not -1"),
        ({"max_bad": -2}, "max_bad must be 0 or more, not -2"),
        ({"side": 0}, "side must be 1 or more, not 0"),
        ({"side": 11}, "a crop of 12x12 does not fit into a picture of 11x11"),
        ({"prepare": Prepare(crop=12, mean=np.zeros((3, 20, 20)))}, r"mean is an image \(3, 20, 20\)"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_at_once(whole_folder, settings, message):
    with pytest.raises(ValueError, match=message):
        batches_of(whole_folder, **settings)


def test_no_pictures_are_refused(whole_folder):
    with pytest.raises(ValueError, match="there are no pictures"):
        PictureBatches(find_pictures(whole_folder).part([]), PREPARE, 5)


# -- Bad files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("cached", [False, True])
def test_bad_files_are_left_out_named_and_counted(folder, tmp_path, workers, cached):
    bad = spoil(folder, 0, 7)
    batches = batches_of(folder, workers=workers, max_bad=2, cache=tmp_path / "cache" if cached else None)
    sizes = [(len(x), len(labels)) for x, labels in batches.in_order()]
    assert sizes == [(4, 4), (4, 4), (5, 5), (5, 5), (3, 3)]
    assert list(batches.bad_files) == bad
    assert all(f"{file} cannot be read" in reason for file, reason in batches.bad_files.items())
    for _ in range(2):  # the same files again are no further ones
        assert sum(len(x) for x, _ in batches.shuffled(0)) == COUNT - 2
    assert_same(batches.shuffled(1), batches_of(folder, workers=0, max_bad=2).shuffled(1))


def test_what_is_bad_changes_no_other_picture(folder):
    before = list(batches_of(folder).in_order())
    spoil(folder, 7)  # the last of its class
    after = list(batches_of(folder, max_bad=1).in_order())
    assert_same([[np.delete(part, 2, axis=0) for part in before[1]]], after[1:2])
    assert_same(before[2:], after[2:])


@pytest.mark.parametrize("cached", [False, True])
def test_more_bad_files_than_allowed_end_it(folder, tmp_path, cached):
    spoil(folder, *range(12))
    with pytest.raises(DataError) as stopped:
        list(batches_of(folder, max_bad=11, cache=tmp_path / "cache" if cached else None).in_order())
    text = str(stopped.value)
    assert "12 of 23 pictures cannot be read, and up to 11 may be skipped (max_bad, --max-bad):" in text
    assert "00.jpg cannot be read as a picture (it is neither JPEG nor PNG)" in text
    assert "03.jpg cannot be read as a picture (" in text
    assert text.endswith("and 2 more")


def test_a_batch_of_bad_files_alone_is_passed_over(folder):
    spoil(folder, 0, 1)
    batches = batches_of(folder, batch_size=2, max_bad=2)
    assert [len(x) for x, _ in batches.in_order()] == [2] * 10 + [1]


def test_bad_files_alone_end_it_however_many_are_allowed(folder):
    spoil(folder, *range(COUNT))
    with pytest.raises(DataError, match="23 of 23 pictures cannot be read"):
        list(batches_of(folder, max_bad=99).in_order())


# -- How it ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 3])
def test_a_worker_s_exception_comes_once_and_names_the_file(whole_folder, workers):
    calls = []

    class Clumsy(Prepare):
        def training(self, picture, rng):
            calls.append(0)
            if len(calls) == 9:
                raise ZeroDivisionError("oops")
            return super().training(picture, rng)

    stream = batches_of(whole_folder, workers=workers, prepare=Clumsy(crop=12)).shuffled(0)
    with pytest.raises(RuntimeError, match=r"\.jpg could not be prepared: ZeroDivisionError: oops") as error:
        list(stream)
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    assert list(stream) == []


def test_closing_early_leaves_no_thread(whole_folder):
    stream = batches_of(whole_folder, batch_size=1, workers=4).shuffled(0)
    next(stream)
    assert threads_of_a_loader()
    stream.close()
    assert not threads_of_a_loader()


@pytest.fixture
def pool(monkeypatch):
    """The loader's pool: how many pictures it was given, and whether it begins to close (what is queued is dropped)."""
    told = SimpleNamespace(given=0, closing=threading.Event())

    class Pool(ThreadPoolExecutor):
        def submit(self, *job):
            told.given += 1
            return super().submit(*job)

        def shutdown(self, wait=True, **options):
            super().shutdown(wait=False, **options)
            told.closing.set()
            super().shutdown(wait)

    monkeypatch.setattr(loader, "ThreadPoolExecutor", Pool)
    return told


def test_closing_early_does_not_wait_for_what_is_queued(whole_folder, monkeypatch, pool):
    read = []

    def slow(*args):
        read.append(args)
        assert len(read) <= 7 or pool.closing.wait(LONG)  # the second batch is read while it closes
        return read_picture(*args)

    monkeypatch.setattr(loader, "read_picture", slow)
    stream = batches_of(whole_folder, batch_size=7, workers=1).shuffled(0)
    next(stream)
    stream.close()
    assert len(read) <= 8


def test_ctrl_c_ends_it_while_the_threads_are_at_work(whole_folder, monkeypatch, pool):
    read = []

    def with_ctrl_c(*args):
        read.append(args)
        if len(read) == 3:
            wait_until(lambda: pool.given == 5 * (1 + loader.AHEAD))  # as many as there may be
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert len(read) < 3 or pool.closing.wait(LONG)
        return read_picture(*args)

    monkeypatch.setattr(loader, "read_picture", with_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        list(batches_of(whole_folder, workers=2).shuffled(0))
    assert len(read) < pool.given  # what is queued is dropped; how soon hangs on the machine


# -- The cache ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(loader, "SHARD", 5)


@pytest.fixture
def cache(tmp_path, small_shards):
    return tmp_path / "cache" / "of squares"


def shards_in(cache):
    return {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}


def decoding_is_over(monkeypatch):
    def decoded(*args):
        raise AssertionError("a file was decoded")

    monkeypatch.setattr(loader, "read_picture", decoded)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_cache_gives_the_same_batches_and_decodes_nothing_again(folder, cache, workers, monkeypatch):
    expected = batches_of(folder)
    shuffled, in_order = list(expected.shuffled(2)), list(expected.in_order())
    batches_of(folder, workers=workers, cache=cache)
    assert len(shards_in(cache)) == 5
    before = shards_in(cache)
    decoding_is_over(monkeypatch)
    batches = batches_of(folder, workers=workers, cache=cache)
    assert_same(batches.shuffled(2), shuffled)
    assert_same(batches.in_order(), in_order)
    assert shards_in(cache) == before


def test_a_changed_picture_has_only_its_own_shard_made_anew(folder, cache):
    batches_of(folder, cache=cache)
    before = shards_in(cache)
    file = find_pictures(folder).files[6]
    Image.new("RGB", (30, 30), "white").save(file)
    batches = batches_of(folder, cache=cache)
    assert len(shards_in(cache)) == 6
    assert shards_in(cache).items() >= before.items()
    assert (list(batches.squares())[6] == 255).all()


def test_another_side_and_other_pictures_share_the_folder_without_harm(folder, cache):
    batches_of(folder, cache=cache)
    pictures = find_pictures(folder)
    assert next(batches_of(folder, cache=cache, side=20).squares()).shape == (3, 20, 20)
    assert len(shards_in(cache)) == 5 + 5
    part = PictureBatches(pictures.part([3, 1]), PREPARE, 2, cache=cache, side=16)
    whole = list(batches_of(folder).squares())
    np.testing.assert_array_equal(list(part.squares()), [whole[3], whole[1]])


def test_a_file_that_healed_is_read_even_if_the_cache_does_not_know(folder, cache):
    (bad,) = spoil(folder, 2)
    batches = batches_of(folder, cache=cache, max_bad=1)
    assert len(list(batches.squares())) == COUNT - 1
    Image.new("RGB", (30, 30), "white").save(bad)
    assert (list(batches.squares())[2] == 255).all()


def test_a_full_disk_leaves_nothing_that_counts(folder, cache, monkeypatch):
    calls, fsync = [], os.fsync

    def full(file):
        calls.append(file)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"the cache in .*of squares cannot be written: .*No space left"
    ) as error:
        batches_of(folder, cache=cache)
    assert error.value.errno == errno.ENOSPC
    assert "For 23 pictures it takes 0.0 MB" in str(error.value)
    assert len(shards_in(cache)) == 2
    assert_same(batches_of(folder, cache=cache).in_order(), batches_of(folder).in_order())


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_decoded(folder, cache, monkeypatch):
    decoding_is_over(monkeypatch)
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 17_686}))
    with pytest.raises(OSError, match="too little space on the disk"):  # 23 * (3*16*16 + 1) = 17,687
        batches_of(folder, cache=cache)


def test_a_cache_that_is_a_file_is_refused(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the cache in .*file cannot be written: File exists"):
        batches_of(folder, cache=tmp_path / "file")


def test_a_shard_cut_short_is_made_anew(folder, cache):
    batches_of(folder, cache=cache)
    shard = next(cache.iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    assert_same(batches_of(folder, cache=cache).in_order(), batches_of(folder).in_order())


KILLED = """
import os, signal, sys
from minialex.data import loader, shards
from minialex.data.augment import Prepare
from minialex.data.folder import find_pictures
loader.SHARD = 5
calls, fsync = [], os.fsync
def killed(file):
    calls.append(file)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(file)
os.fsync = killed
loader.PictureBatches(find_pictures(sys.argv[1]), Prepare(crop=12), 5, cache=sys.argv[2], side=16)
"""


def test_after_a_run_that_was_killed_the_next_one_goes_on_and_sweeps_up(folder, cache):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(cache)])
    assert killed.returncode == -signal.SIGKILL
    names = sorted(shards_in(cache))
    assert [name.endswith(".unfinished") for name in names] == [True, False, False]
    assert_same(batches_of(folder, cache=cache).in_order(), batches_of(folder).in_order())
    assert names[0] in shards_in(cache)  # it could belong to a run that still writes it
    os.utime(cache / names[0], (0, 0))
    batches_of(folder, cache=cache)
    assert len(shards_in(cache)) == 5


@pytest.mark.parametrize(
    "made",
    [
        batches_of,
        lambda folder: DummyBatches(4, 2, crop=3, classes=2),
        lambda folder: ArrayBatches(np.zeros((4, 1)), np.arange(4), 2),
    ],
)
def test_batches_have_no_order_of_their_own(whole_folder, made):
    with pytest.raises(TypeError, match=r"for x, y in batches.shuffled\(epoch\), or .in_order\(\)"):
        iter(made(whole_folder))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": -1}, "count must be 1 or more, not -1"),
        ({"batch_size": float("nan")}, "batch_size must be a whole number, 1 or more, not nan"),
        ({"crop": "x"}, "crop must be a whole number, 1 or more, not 'x'"),
        ({"classes": 0}, "classes must be 1 or more, not 0"),
        ({"seed": 0.5}, "seed must be a whole number >= 0, not 0.5"),
    ],
)
def test_dummy_batches_name_the_number_that_is_wrong(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        DummyBatches(**{"count": 4, "batch_size": 2, "crop": 3, "classes": 2, **wrong})


EPOCHS = [
    ((-1,), "epoch must be a whole number >= 0, not -1"),
    ((1.5,), "epoch must be a whole number >= 0, not 1.5"),
    ((0, -1), "start must be a whole number >= 0, not -1"),
]


@pytest.mark.parametrize(("wrong", "message"), EPOCHS)
@pytest.mark.parametrize("kind", ["arrays", "dummies", "cropped", "pictures"])
def test_an_epoch_is_a_whole_number(wrong, message, kind):
    x, labels = np.zeros((4, 3, 8, 8), np.uint8), np.arange(4)
    names = [Path(f"{i}.jpg") for i in range(4)]
    made = {
        "arrays": lambda: ArrayBatches(x, labels, 2),
        "dummies": lambda: DummyBatches(4, 2, 3, 2),
        "cropped": lambda: Cropped(x, labels, 2),
        "pictures": lambda: PictureBatches(PictureList(names, labels, [*"abcd"]), Prepare(crop=2), 2, side=4),
    }[kind]()
    if kind == "cropped" and len(wrong) == 2:
        pytest.skip("it goes over those before, and hands out all")
    with pytest.raises(ValueError, match=f"^{message}$"):
        next(made.shuffled(*wrong))


@pytest.mark.parametrize("labels", [None, 3, np.array(3)])
def test_what_is_no_array_of_labels_is_named(labels):
    with pytest.raises(TypeError, match=r"^ArrayBatches takes an array of labels, not "):
        ArrayBatches(np.zeros((4, 3, 8, 8), np.uint8), labels, 4)
    with pytest.raises(TypeError, match=r"^ArrayBatches takes an array of pictures, not "):
        ArrayBatches(labels, np.arange(4), 4)
