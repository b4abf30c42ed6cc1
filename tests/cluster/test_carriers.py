"""How gradients travel from GPUs, with stand-ins: NCCL's order of events, an MPI that reads a GPU, and who chooses."""

from types import SimpleNamespace

import numpy as np
import pytest

from minialex.cluster.carriers import ByNccl, OverHost, StraightFromGpu, carrier_for
from minialex.devices.device import Device
from minialex.devices.nccl import Nccl


class Stand:
    """A GPU's device as far as carriers ask: streams and events are written down in `log`."""

    kind, name = "cuda", "cuda:0"

    def __init__(self, nccl=True):
        self.log = []
        stand = self

        class Stream:
            ptr = 77

            def __init__(self, name="own", **options):
                self.name = name

            def record(self, event):
                stand.log.append(f"{self.name} records")
                return f"event of {self.name}"

            def wait_event(self, event):
                stand.log.append(f"{self.name} waits for {event}")

            def synchronize(self):
                stand.log.append(f"the host waits for {self.name}")

        class Communicator:
            def __init__(self, size, identifier, number):
                stand.log.append(f"NCCL {number} of {size} by {identifier}")

            def allReduce(self, source, target, count, kind, operation, stream):
                assert source == target
                stand.log.append(f"sum of {count} {kind} by {operation} on stream {stream}")

        of_nccl = SimpleNamespace(
            available=nccl, NCCL_FLOAT32="floats", NCCL_FLOAT64="doubles", NCCL_SUM="adding",
            get_unique_id=lambda: "its identifier", NcclCommunicator=Communicator,
        )  # fmt: skip
        computing = Stream("computing")
        cuda = SimpleNamespace(
            nccl=of_nccl, Stream=Stream, Event=lambda **options: "event", get_current_stream=lambda: computing
        )
        self.xp = SimpleNamespace(cuda=cuda, zeros=np.zeros)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Alone:
    """A group of two, of which only this process is here."""

    number, size, bytes_crossed = 1, 2, 0

    def __init__(self, *others):
        self.others, self.begun = others, []

    def gather(self, value):
        return [*self.others, value]

    def from_first(self, value):
        return value

    def begin_sum(self, array):
        self.begun.append(array)
        return "a request"


@pytest.fixture(autouse=True)
def of_the_stand_in(monkeypatch):
    monkeypatch.setattr(
        "minialex.devices.nccl.module_of", lambda device: getattr(device.xp.cuda, "nccl", None)
    )


BOTH, NEITHER = {"straight": True, "nccl": True}, {"straight": False, "nccl": False}


def test_nccl_sums_after_what_was_computed_and_what_follows_waits_for_it():
    stand = Stand()
    nccl = Nccl(stand, 1, 2, from_first=lambda value: value)
    array = SimpleNamespace(data=SimpleNamespace(ptr=5), size=6, dtype=np.dtype("float32"), nbytes=24)
    done = nccl.begin_sum(array)
    nccl.finish(done)
    assert stand.log == [
        "NCCL 1 of 2 by its identifier",
        "computing records",
        "own waits for event of computing",
        "sum of 6 floats by adding on stream 77",
        "own records",
        "computing waits for event of own",
    ]


def test_an_mpi_that_reads_a_gpu_begins_when_its_stream_is_done():
    stand, group = Stand(), Alone()
    carrier = StraightFromGpu(group, stand)
    flat = carrier.empty(6, np.dtype("float32"))
    carrier.put(flat[:4], np.arange(4, dtype=np.float32).reshape(2, 2).T)
    assert flat.tolist() == [0, 2, 1, 3, 0, 0]  # in the order of the transposed
    carrier.begin_sum(flat)
    assert stand.log == ["the host waits for computing"]
    assert group.begun[0] is flat


@pytest.mark.parametrize(
    ("nccl", "asked", "other", "wanted"),
    [
        (True, "", BOTH, ByNccl),
        (True, "", NEITHER, OverHost),  # the other has no NCCL
        (False, "1", BOTH, StraightFromGpu),
        (False, "1", NEITHER, OverHost),
        (False, "", BOTH, OverHost),
    ],
)
def test_all_processes_take_the_quickest_way_that_all_have(monkeypatch, nccl, asked, other, wanted):
    monkeypatch.setenv("MINIALEX_CUDA_MPI", asked)
    found = carrier_for(Alone(other), {Stand(nccl)})
    assert type(found) is wanted


def test_a_model_on_several_devices_goes_through_the_host(monkeypatch):
    monkeypatch.setenv("MINIALEX_CUDA_MPI", "1")
    found = carrier_for(Alone(BOTH), {Stand(), Stand()})
    assert type(found) is OverHost
    assert found.name == "MPI, through the host"
    assert OverHost(Alone(), {Device("cpu")}).name == "MPI"


def test_a_cupy_without_nccl_has_none():
    stand = Stand(nccl=False)
    assert not Nccl.is_there(stand)
    del stand.xp.cuda.nccl
    assert not Nccl.is_there(stand)
    assert not Nccl.is_there(Device("cpu"))
