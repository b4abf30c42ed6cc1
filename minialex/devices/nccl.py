"""NCCL, NVIDIA's sums over GPUs, through CuPy: each process has one GPU, and they sum arrays without the host.

Not run yet: no machine with two GPUs has been at hand. What can be tested without one is tested with a stand-in.
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

from minialex.devices.device import Device


class Nccl:
    """The processes' GPUs. from_first: gives all processes what the first one says, for NCCL's identifier.

    Sums run on a stream of their own. They begin when the computing stream has written what is summed, and the
    computing stream waits for them where they are finished; the host waits for nothing.
    """

    def __init__(self, device: Device, number: int, size: int, from_first: Callable[[Any], Any]):
        self.device = device
        with device:
            nccl = module_of(device)
            self._comm = nccl.NcclCommunicator(size, from_first(nccl.get_unique_id()), number)
            self._kinds = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}
            self._add = nccl.NCCL_SUM
            self._stream = device.xp.cuda.Stream(non_blocking=True)

    @staticmethod
    def is_there(device: Device) -> bool:
        """Has this CuPy NCCL? Its wheels find it where the package nvidia-nccl-cu12 (or -cu13) is installed."""
        return device.kind == "cuda" and bool(getattr(module_of(device), "available", False))

    def begin_sum(self, array: Any) -> Any:
        """Begin to replace an array by its sum over all GPUs; what it returns is for `finish`."""
        with self.device:
            cuda = self.device.xp.cuda
            self._stream.wait_event(cuda.get_current_stream().record(cuda.Event(disable_timing=True)))
            where = array.data.ptr
            self._comm.allReduce(
                where, where, array.size, self._kinds[str(array.dtype)], self._add, self._stream.ptr
            )
            return self._stream.record(cuda.Event(disable_timing=True))

    def finish(self, done: Any) -> None:
        """What the computing stream does from here on comes after the sum."""
        with self.device:
            self.device.xp.cuda.get_current_stream().wait_event(done)


def module_of(device: Device) -> Any:
    """CuPy's module for NCCL, None where it has none. To import it warns where the library itself is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(f"{device.xp.__name__}.cuda.nccl")
        except ImportError:
            return None
