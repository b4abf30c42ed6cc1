"""The CUDA kernels on a CPU, for all tests here; none of which runs where the folder fast/ is out of the way."""

import importlib.util
import os
import sys

import pytest

from minialex.devices import twins
from minialex.devices.device import Device

HERE = importlib.util.find_spec("minialex.fast") is not None
collect_ignore_glob = [] if HERE else ["*.py"]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    from cuda_on_a_cpu import Host

    return Host(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def host(compiled, monkeypatch):
    """The CPU, whose layers use the kernels."""
    if compiled.compiler is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    monkeypatch.setattr("minialex.fast.cuda.kernels._kernel", compiled.kernel)
    monkeypatch.setattr(Device("cpu"), "fast", True)
    twins_of = twins.twins_of
    monkeypatch.setattr(twins, "twins_of", lambda kind: twins_of("cuda" if kind == "cpu" else kind))
    return compiled


def pytest_terminal_summary(terminalreporter):
    """How many configurations of each twin were tried, where more than usual were asked for."""
    tried = getattr(sys.modules.get("test_twins"), "TRIED", {}) if "MINIALEX_EXAMPLES" in os.environ else {}
    for twin, count in tried.items():
        terminalreporter.write_line(f"{count:>6} configurations of {twin}")
