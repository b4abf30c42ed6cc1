"""What all tests share: the devices they run on, the data they may find, and hypothesis's settings."""

import importlib.util
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import minialex as mx
from minialex.devices import memory
from minialex.devices.device import cuda_count
from minialex.devices.threads import one_blas_thread

# No deadline: the first example of a test also pays for imports. The same examples on every run. The fixtures that
# examples share, the devices, do not change.
settings.register_profile(
    "minialex",
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("minialex")

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start as well. Some tests
# press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

GPUS = cuda_count()
DEVICES = [
    "cpu",
    "cpu in pieces",
    "sim:0",
    pytest.param(
        "cuda:0",
        marks=[pytest.mark.gpu, pytest.mark.skipif(GPUS < 1, reason="no CUDA GPU that CuPy can use")],
    ),
]


@pytest.fixture(params=DEVICES)
def device(request):
    """Each kind of device in turn: the same test runs on all. "cpu in pieces": small work is cut up as large is."""
    if request.param == "cpu in pieces":
        request.getfixturevalue("in_pieces")
        return mx.Device("cpu")
    return mx.Device(request.param)


@pytest.fixture
def in_pieces(monkeypatch):
    """The CPU deals out even the smallest work, to three threads, in the smallest pieces, from its pool of memory."""
    cpu = mx.Device("cpu")
    monkeypatch.setattr(cpu, "threads", 3)
    monkeypatch.setattr(cpu, "piece_bytes", 64)
    monkeypatch.setattr(cpu, "shares", lambda count, least=1: mx.Device.shares(cpu, count))
    monkeypatch.setattr(memory, "SMALL", 1)
    if importlib.util.find_spec("minialex.fast"):  # else there are no strips
        monkeypatch.setattr("minialex.fast.cpu.products.SMALL", 200)  # products in strips
        monkeypatch.setattr("minialex.fast.cpu.products.NARROW", 1)
    yield
    cpu.free_memory()


@pytest.fixture
def textbook():
    """No twins, and BLAS on one thread: then a CPU and a pretended GPU add up in the same order, to the same bits."""
    with mx.textbook(), one_blas_thread:
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data: MINIALEX_DATA, or ../shared/data beside the project."""
    folder = Path(os.environ.get("MINIALEX_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no real data: set MINIALEX_DATA to a folder with mnist/ in it")
    return folder


def pytest_terminal_summary(terminalreporter):
    """Say why tests were skipped, each reason once."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")
