"""MNIST's files: found, verified, read; and downloaded from a real server on this machine."""

import contextlib
import gc
import gzip
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import LONG, wait_until

from minialex.data import mnist
from minialex.data.mnist import load_mnist, read_idx
from minialex.errors import DataError, DownloadFailed

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = mnist.MD5


def real_mnist_folder() -> Path | None:
    """A folder with the real four files, or None."""
    places = [os.environ.get("MINIALEX_DATA"), REPOSITORY.parent / "shared" / "data"]
    folders = [folder for place in places if place for folder in mnist._with_usual_subfolders(place)]
    complete = (folder for folder in folders if all(mnist._find(name, [folder]) for name in mnist.MD5))
    return next(complete, None)


needs_real_files = pytest.mark.skipif(real_mnist_folder() is None, reason="no MNIST files on this machine")


# -- A small data set that passes for MNIST ----------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    """Seven training pictures and three test pictures, in the files' order."""
    rng = np.random.default_rng(5)
    shapes = [(7, 28, 28), (7,), (3, 28, 28), (3,)]
    return [rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8) for shape in shapes]


@pytest.fixture
def files(arrays, tmp_path, monkeypatch):
    """Name -> uncompressed bytes of four small IDX files, whose sums replace the published ones.

    The cache is an empty folder, no variable names a data folder, and nothing leaves this machine.
    """
    content = {name: idx_bytes(array) for name, array in zip(mnist.MD5, arrays, strict=True)}
    sums = {name: hashlib.md5(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(mnist, "MD5", sums)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(mnist, "_cache_folder", lambda: tmp_path / "cache" / "mnist")
    monkeypatch.delenv("MINIALEX_DATA", raising=False)
    return content


def write_files(files: dict, folder: Path, pattern: str = "{}", compress: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / pattern.format(name)).write_bytes(gzip.compress(data) if compress else data)
    return folder


def assert_loaded(loaded, arrays):
    (train_x, train_y), (test_x, test_y) = loaded
    np.testing.assert_array_equal(train_x, arrays[0][:, None])
    np.testing.assert_array_equal(train_y, arrays[1])
    np.testing.assert_array_equal(test_x, arrays[2][:, None])
    np.testing.assert_array_equal(test_y, arrays[3])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- Local files -------------------------------------------------------------------------------------------


@needs_real_files
def test_the_real_files_pass_their_checks():
    (train_x, train_y), (test_x, test_y) = load_mnist(real_mnist_folder(), download=False)
    assert (train_x.shape, train_y.shape) == ((60_000, 1, 28, 28), (60_000,))
    assert (test_x.shape, test_y.shape) == ((10_000, 1, 28, 28), (10_000,))
    assert list(train_y[:5]) == [5, 0, 4, 1, 9]
    assert list(test_y[:5]) == [7, 2, 1, 0, 4]
    assert all(array.dtype == np.uint8 for array in (train_x, train_y, test_x, test_y))
    assert train_x[0].max() == 255
    assert train_x[0, 0, 0].max() == 0


@pytest.mark.parametrize("subfolder", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("compress", [False, True])
def test_root_and_its_usual_subfolders_are_searched(files, arrays, tmp_path, subfolder, compress):
    write_files(files, tmp_path / "data" / subfolder, "{}.gz" if compress else "{}", compress)
    assert_loaded(load_mnist(tmp_path / "data", download=False), arrays)
    assert_loaded(load_mnist(str(tmp_path / "data"), download=False), arrays)


def test_the_spelling_with_a_dot_is_found(files, arrays, tmp_path):
    dotted = {name.replace("-idx", ".idx"): data for name, data in files.items()}
    assert "train-images.idx3-ubyte" in dotted
    assert_loaded(load_mnist(write_files(dotted, tmp_path / "data"), download=False), arrays)


def test_gzip_is_told_by_its_first_bytes_not_by_the_name(files, arrays, tmp_path):
    assert_loaded(load_mnist(write_files(files, tmp_path / "a", "{}.gz", compress=False)), arrays)
    assert_loaded(load_mnist(write_files(files, tmp_path / "b", "{}", compress=True)), arrays)


def test_the_environment_variable_names_a_folder(files, arrays, tmp_path, monkeypatch):
    write_files(files, tmp_path / "named" / "mnist")
    monkeypatch.setenv("MINIALEX_DATA", str(tmp_path / "named"))
    assert_loaded(load_mnist(download=False), arrays)


def test_the_cache_is_searched_after_the_environment_variable(files, arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIALEX_DATA", str(tmp_path / "nothing-here"))
    write_files(files, tmp_path / "cache" / "mnist")
    assert_loaded(load_mnist(download=False), arrays)


def test_an_explicit_root_is_searched_alone(files, tmp_path):
    write_files(files, tmp_path / "cache" / "mnist")
    with pytest.raises(FileNotFoundError):
        load_mnist(tmp_path / "elsewhere", download=False)


def test_the_cache_lies_in_the_users_cache_folder():
    assert "minialex" in mnist._cache_folder().parts
    assert mnist._cache_folder().name == "mnist"


def test_the_arrays_are_writable_and_contiguous(files, tmp_path):
    loaded = load_mnist(write_files(files, tmp_path / "data"))
    for array in [array for pair in loaded for array in pair]:
        assert array.flags.c_contiguous
        array[0] = 1  # raises when it is a view of bytes


def test_missing_files_are_named_with_the_places_and_the_ways_out(files, tmp_path):
    write_files(files, tmp_path / "data")
    (tmp_path / "data" / TRAIN_LABELS).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(tmp_path / "data", download=False)
    message = str(caught.value)
    assert f"Missing: {TRAIN_LABELS} (with or without .gz)." in message
    for place in mnist._with_usual_subfolders(tmp_path / "data"):
        assert str(place) in message
    for way_out in ("load_mnist(download=True)", "MINIALEX_DATA", "load_drawn_digits()"):
        assert way_out in message


def test_a_file_with_another_sum_is_named_with_both_sums(files, tmp_path):
    folder = write_files(files, tmp_path / "data")
    content = bytearray(files[TEST_IMAGES])
    content[-1] ^= 1
    (folder / TEST_IMAGES).write_bytes(content)
    found, expected = hashlib.md5(content).hexdigest(), mnist.MD5[TEST_IMAGES]
    with pytest.raises(DataError, match=rf"{TEST_IMAGES} is not MNIST's.*is {found}, expected {expected}"):
        load_mnist(folder)


def test_a_wrong_file_says_what_to_do(files, tmp_path):
    folder = write_files(files, tmp_path / "data")
    (folder / TEST_LABELS).write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"use read_idx\)\. Delete it and fetch it again\."):
        load_mnist(folder)


# -- The IDX format ----------------------------------------------------------------------------------------


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), compress=st.booleans())
def test_read_idx_gives_back_what_was_written(tmp_path_factory, shape, compress):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array, strict=True)


@given(
    start=st.sampled_from([b"", b"\0\0\x08", b"\0\0\x08\x01", b"\0\0\x08\xff", b"\x1f\x8b", b"\x1f\x8b\x08"]),
    rest=st.binary(max_size=40) | st.integers(0, 1100).map(bytes),
)
def test_any_bytes_are_an_array_or_a_data_error(tmp_path_factory, start, rest):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(start + rest)
    with contextlib.suppress(DataError):
        assert read_idx(path).dtype == np.uint8


def test_every_truncation_of_a_gzip_file_is_a_data_error(tmp_path):
    whole = gzip.compress(idx_bytes(np.arange(100, dtype=np.uint8)))
    path = tmp_path / "cut"
    for length in range(2, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut is a damaged gzip file"):
            read_idx(path)


def test_a_flipped_bit_inside_a_gzip_file_is_a_data_error(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8)
    content = bytearray(gzip.compress(idx_bytes(noise)))
    content[len(content) // 2] ^= 16
    (tmp_path / "flipped").write_bytes(content)
    with pytest.raises(DataError, match=r"flipped is a damaged gzip file .*fetch it again"):
        read_idx(tmp_path / "flipped")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file of unsigned bytes.* this with nothing"),
        (b"\0\0\x08", "this with 00 00 08"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "this with 00 00 0d 01"),  # 0x0d: floats
        (b"\0\0\x08\0", "this with 00 00 08 00"),  # no dimensions
        (b"<html>403</html>", "this with 3c 68 74 6d"),
        (b"\0\0\x08\x02\0\0\0\x02\0\0", "ends after 10 bytes, inside its header of 12"),
        (b"\0\0\x08\x02\0\0\0\x02\0\0\0\x03.....", "2 x 3 = 6 bytes after its header, but holds 5"),
        (b"\0\0\x08\x01\0\0\0\x02...", "should hold 2 = 2 bytes after its header, but holds 3"),
        (b"\0\0\x08\x41" + bytes(4 * 65), "has a shape that NumPy cannot hold"),
    ],
)
def test_a_malformed_idx_file_is_described(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "file")


def test_a_missing_idx_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="not-here"):
        read_idx(tmp_path / "not-here")


# -- Downloads ---------------------------------------------------------------------------------------------


class Mirror(ThreadingHTTPServer):
    """A real web server on this machine. `answer(handler, file_name)` answers each GET; HEAD is always fine."""

    daemon_threads = True

    def __init__(self, answer):
        self.asked_for = []
        self.half_sent = threading.Event()
        self.closing = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                if mirror.deaf:
                    mirror.closing.wait(LONG)
                    return
                self.send_response(200)
                self.end_headers()

            def do_GET(self):
                name = self.path.rpartition("/")[2]
                mirror.asked_for.append(name)
                answer(self, name)

            def log_message(self, *_):
                pass

        self.deaf = False
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/mnist/"

    def close(self):
        self.closing.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


def send(handler, data: bytes, promised: int | None = None):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) if promised is None else promised))
    handler.end_headers()
    handler.wfile.write(data)
    handler.wfile.flush()


@pytest.fixture
def start_mirror(files, monkeypatch):
    """Starts servers and makes them the mirrors, in that order."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mnist, "ANSWER_SECONDS", LONG)  # a slow machine is no slow mirror
    monkeypatch.setattr(mnist, "STALL_SECONDS", LONG)
    mirrors = []

    def start(answer):
        mirrors.append(Mirror(answer))
        monkeypatch.setattr(mnist, "MIRRORS", tuple(mirror.url for mirror in mirrors))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.close()
    gc.collect()  # an unclosed socket would warn here, and a warning is an error


@pytest.fixture
def good(files):
    return lambda handler, name: send(handler, gzip.compress(files[name.removesuffix(".gz")]))


@pytest.fixture
def cut_short(files):
    """Promises a whole file and closes the connection after half of it."""

    def answer(handler, name):
        data = gzip.compress(files[name.removesuffix(".gz")])
        send(handler, data[: len(data) // 2], promised=len(data))

    return answer


def not_there(handler, name):
    handler.send_error(404)


def falls_silent(handler, name):
    """Sends the beginning of a file and then nothing, without hanging up."""
    send(handler, b"\x1f\x8b beginning", promised=100_000)
    handler.server.half_sent.set()
    handler.server.closing.wait(LONG)


def test_a_good_mirror_fills_an_explicit_root(start_mirror, good, arrays, tmp_path, capfd):
    mirror = start_mirror(good)
    root = tmp_path / "new" / "folder"
    assert_loaded(load_mnist(root), arrays)
    assert names_in(root) == sorted(name + ".gz" for name in mnist.MD5)
    assert len(mirror.asked_for) == 4
    printed = capfd.readouterr()
    assert "train-images-idx3-ubyte.gz: 100%" in printed.err  # the progress bar
    assert "SHA256" not in printed.err + printed.out  # pooch's chatter


def test_without_root_the_download_goes_to_the_cache_and_happens_once(start_mirror, good, arrays, tmp_path):
    mirror = start_mirror(good)
    assert_loaded(load_mnist(), arrays)
    assert_loaded(load_mnist(), arrays)
    assert names_in(tmp_path / "cache" / "mnist") == sorted(name + ".gz" for name in mnist.MD5)
    assert len(mirror.asked_for) == 4


def test_only_the_missing_files_are_downloaded(start_mirror, good, files, arrays, tmp_path):
    mirror = start_mirror(good)
    folder = write_files(files, tmp_path / "data")
    (folder / TEST_LABELS).unlink()
    assert_loaded(load_mnist(folder), arrays)
    assert mirror.asked_for == [TEST_LABELS + ".gz"]


def test_a_second_mirror_helps_out_and_is_asked_first_from_then_on(start_mirror, good, arrays, tmp_path):
    first, second = start_mirror(not_there), start_mirror(good)
    assert_loaded(load_mnist(tmp_path), arrays)
    assert len(first.asked_for) == 1
    assert len(second.asked_for) == 4


def test_a_connection_cut_in_the_middle_is_not_a_file(start_mirror, cut_short, tmp_path):
    start_mirror(cut_short)
    with pytest.raises(DownloadFailed, match="gz: the connection broke off in the middle of the file"):
        load_mnist(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_short_file_without_a_promised_length_is_not_a_file(start_mirror, files, tmp_path):
    """Then only gzip can tell that something is missing."""

    def answer(handler, name):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(gzip.compress(files[TRAIN_IMAGES])[:-9])

    start_mirror(answer)
    with pytest.raises(DownloadFailed, match="gz: the file there is a damaged gzip file"):
        load_mnist(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_wrong_file_is_refused_with_both_sums(start_mirror, tmp_path):
    wrong = idx_bytes(np.zeros((2, 28, 28), np.uint8))
    start_mirror(lambda handler, name: send(handler, gzip.compress(wrong)))
    found, expected = hashlib.md5(wrong).hexdigest(), mnist.MD5[TRAIN_IMAGES]
    with pytest.raises(DownloadFailed, match=f"there is not MNIST's: .* is {found}, expected {expected}"):
        load_mnist(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_without_end_is_given_up(start_mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "MOST_OF_MNIST", 1_000_000)
    sent = []

    def endless(handler, name):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):  # nobody listens any more
            while len(sent) < 1000:
                handler.wfile.write(bytes(100_000))
                sent.append(name)

    start_mirror(endless)
    with pytest.raises(DownloadFailed, match=r"the file there goes on after 1,0\d\d,\d\d\d bytes"):
        load_mnist(tmp_path)
    assert len(sent) < 1000
    assert not names_in(tmp_path)


def test_a_login_page_instead_of_the_file_is_refused(start_mirror, tmp_path):
    start_mirror(lambda handler, name: send(handler, b"<html>Please log in</html>"))
    with pytest.raises(DownloadFailed, match="the file there is not an IDX file"):
        load_mnist(tmp_path)


def test_a_failed_download_lists_each_mirrors_answer_and_the_ways_out(start_mirror, cut_short, tmp_path):
    mirrors = [start_mirror(not_there), start_mirror(cut_short)]
    with pytest.raises(DownloadFailed) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"No mirror delivered a good {TRAIN_IMAGES}.gz:")
    assert f"{mirrors[0].url}{TRAIN_IMAGES}.gz: 404 Not Found" in message
    assert f"{mirrors[1].url}{TRAIN_IMAGES}.gz: the connection broke off" in message
    for way_out in (f"put them into {tmp_path}", "MINIALEX_DATA", "load_drawn_digits()"):
        assert way_out in message


def test_the_other_files_are_not_tried_after_the_first_failed_everywhere(start_mirror, tmp_path):
    mirrors = [start_mirror(not_there), start_mirror(not_there)]
    with pytest.raises(DownloadFailed):
        load_mnist(tmp_path)
    assert [mirror.asked_for for mirror in mirrors] == [[TRAIN_IMAGES + ".gz"]] * 2


def test_a_mirror_that_never_answers_is_given_up(start_mirror, good, arrays, tmp_path, monkeypatch):
    deaf = start_mirror(good)
    deaf.deaf = True  # for a minute, then it hangs up: whoever waits so long is told something else
    monkeypatch.setattr(mnist, "ANSWER_SECONDS", 0.3)
    with pytest.raises(DownloadFailed, match="gz: no answer in time"):
        load_mnist(tmp_path)
    start_mirror(good)
    for seconds in (0.3, 3, 30):  # as many as this machine needs for an answer of the good one
        monkeypatch.setattr(mnist, "ANSWER_SECONDS", seconds)
        with contextlib.suppress(DownloadFailed):
            assert_loaded(load_mnist(tmp_path), arrays)
            return
    pytest.fail("the good mirror was not asked")


def test_a_mirror_of_many_silent_addresses_is_given_up_as_soon(start_mirror, good, tmp_path, monkeypatch):
    """requests counts its time-out anew for each address: so we do not wait for requests."""
    over = threading.Event()
    monkeypatch.setattr("requests.head", lambda *_, **__: over.wait(LONG))
    monkeypatch.setattr(mnist, "ANSWER_SECONDS", 0.1)
    start_mirror(good)
    with pytest.raises(DownloadFailed, match="gz: no answer in time"):
        load_mnist(tmp_path)
    over.set()


def test_a_mirror_that_falls_silent_is_given_up(start_mirror, tmp_path, monkeypatch):
    start_mirror(falls_silent)  # for a minute, then it hangs up: whoever waits so long is told something else
    for seconds in (0.3, 3, 30):  # as many as this machine needs for the beginning of the file
        monkeypatch.setattr(mnist, "STALL_SECONDS", seconds)
        with pytest.raises(DownloadFailed) as told:
            load_mnist(tmp_path)
        if "no answer in time" not in str(told.value):
            break
    assert f"gz: it fell silent for {seconds} s in the middle of the file" in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_closed_port_refuses_the_connection(start_mirror, tmp_path):
    with socket.socket() as nobody_listens:  # and nobody else can begin to, as on a port that was closed
        nobody_listens.bind(("127.0.0.1", 0))
        mnist.MIRRORS = (f"http://127.0.0.1:{nobody_listens.getsockname()[1]}/mnist/",)
        with pytest.raises(DownloadFailed, match="gz: it refused the connection"):
            load_mnist(tmp_path)


def test_a_name_that_nobody_knows_fails_at_once(files, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    asked = []

    def no_such_name(host, *_, **__):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", no_such_name)  # so that not even a question leaves this machine
    monkeypatch.setattr(mnist, "MIRRORS", ("http://mirror.invalid/", "http://other.invalid/"))
    with pytest.raises(DownloadFailed, match=r"gz: its name could not be looked up \(is there a network\?\)"):
        load_mnist(tmp_path)
    assert asked == ["mirror.invalid", "other.invalid"]  # each once, not for each file and not again later


def test_an_interrupt_during_a_download_leaves_nothing(start_mirror, good, tmp_path, monkeypatch):
    start_mirror(good)
    monkeypatch.setattr("tqdm.std.tqdm.update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_mnist(tmp_path)
    assert not list(tmp_path.iterdir())


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_killed_download_leaves_no_file_under_the_final_name(start_mirror, good, arrays, tmp_path):
    half = start_mirror(falls_silent)
    script = (
        f"from minialex.data import mnist; mnist.MIRRORS = ({half.url!r},); mnist.ANSWER_SECONDS = {LONG}; "
        f"mnist.STALL_SECONDS = {LONG}; mnist.load_mnist({str(tmp_path)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    try:
        assert half.half_sent.wait(LONG)
        part = wait_until(lambda: next(tmp_path.glob(f"download-*/{TRAIN_IMAGES}.gz"), None))
        assert part.exists()
    finally:
        process.kill()
        process.wait()
    assert mnist._find(TRAIN_IMAGES, mnist._with_usual_subfolders(tmp_path)) is None
    mnist.MIRRORS = (start_mirror(good).url,)
    assert_loaded(load_mnist(tmp_path), arrays)  # what the killed process left behind is in nobody's way


def test_a_file_in_the_place_of_the_root_folder_is_an_error_that_names_it(start_mirror, good, tmp_path):
    start_mirror(good)
    (tmp_path / "root").write_text("I am a file")
    with pytest.raises(OSError, match="root"):
        load_mnist(tmp_path / "root")


# -- Import ------------------------------------------------------------------------------------------------


def test_importing_the_loader_imports_no_network_library():
    script = "import sys, minialex.data.mnist; print({'requests', 'pooch', 'tqdm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
