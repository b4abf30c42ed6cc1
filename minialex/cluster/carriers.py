"""How gradients travel: on the host by MPI, from a GPU by NCCL, by an MPI that can read a GPU, or through the host."""

import os
from typing import Any

import numpy as np

from minialex.cluster.group import Group
from minialex.devices.device import Device, to_numpy
from minialex.devices.nccl import Nccl
from minialex.layers.layer import Array


class OverHost:
    """Sums are made on the host, by MPI: on a CPU where the gradients are, from other devices through a copy."""

    def __init__(self, group: Group, devices: set[Device]):
        self.group = group
        self.name = "MPI" if {device.kind for device in devices} == {"cpu"} else "MPI, through the host"

    def empty(self, count: int, dtype: np.dtype) -> Array:
        """Room for so many numbers, where the sums are made."""
        return np.zeros(count, dtype)

    def put(self, part: Array, grad: Array) -> None:
        """Lay a gradient there; one that is a view, transposed say, in its order."""
        part[...] = to_numpy(grad).reshape(-1)

    def begin_sum(self, part: Array) -> Any:
        """Begin the sum of a part."""
        return self.group.begin_sum(part)

    def poll(self, request: Any) -> None:
        """Let it go on."""
        self.group.poll(request)

    def finish(self, request: Any) -> None:
        """Wait for it."""
        self.group.finish(request)


class StraightFromGpu(OverHost):
    """By an MPI that reads a GPU's memory, as it says when MINIALEX_CUDA_MPI=1: no MPI can be asked. (Not run yet.)"""

    def __init__(self, group: Group, device: Device):
        self.group, self.device, self.name = group, device, "MPI, from the GPU"

    def empty(self, count, dtype):
        with self.device:
            return self.device.xp.zeros(count, dtype)

    def put(self, part, grad):
        with self.device:
            part[...] = grad.reshape(-1)

    def begin_sum(self, part):
        with self.device:
            self.device.xp.cuda.get_current_stream().synchronize()  # MPI knows of no streams
        return self.group.begin_sum(part)


class ByNccl(StraightFromGpu):
    """By NCCL, in the GPU's own order of work: nothing waits for the host. (Not run yet.)"""

    def __init__(self, group: Group, device: Device):
        super().__init__(group, device)
        self.nccl, self.name = Nccl(device, group.number, group.size, group.from_first), "NCCL"

    def begin_sum(self, part):
        self.group.bytes_crossed += 2 * (self.group.size - 1) * part.nbytes // self.group.size
        return self.nccl.begin_sum(part)

    def poll(self, request):
        """It goes on by itself."""

    def finish(self, request):
        self.nccl.finish(request)


def carrier_for(group: Group, devices: set[Device]) -> OverHost:
    """The quickest way that all processes have, by the devices of a model's parameters: the same in each."""
    (device,) = devices if len(devices) == 1 else (None,)
    is_gpu = device is not None and device.kind == "cuda"
    ways = {
        "straight": is_gpu and os.environ.get("MINIALEX_CUDA_MPI") == "1",
        "nccl": is_gpu and Nccl.is_there(device),
    }
    all_ways = group.gather(ways)
    if all(one["nccl"] for one in all_ways):
        return ByNccl(group, device)
    if all(one["straight"] for one in all_ways):
        return StraightFromGpu(group, device)
    return OverHost(group, devices)
