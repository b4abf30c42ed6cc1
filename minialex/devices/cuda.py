"""NVIDIA GPUs, through CuPy, which is imported when a `cuda` device is first asked for."""

import warnings

import numpy as np

from minialex.devices import twins
from minialex.devices.device import Device, MiB, to_numpy
from minialex.errors import DeviceUnavailable
from minialex.words import counted


class Cuda(Device):
    column_budget = 1024 * MiB
    upload_ahead = twins.asked_by("MINIALEX_UPLOAD_AHEAD") == "1"
    not_straight_from: set[str] = set()  # each one's own: GPUs from which copies arrive wrong, see check_link

    def _open(self):
        self.not_straight_from = set()
        try:
            import cupy
        except ImportError as error:
            raise DeviceUnavailable(
                f'{self.name} needs CuPy: pip install "minialex[cuda12]" or "minialex[cuda13]", to match your driver; '
                "pick one"
            ) from error
        if not cupy.is_available():
            raise DeviceUnavailable(
                f"{self.name}: CuPy {cupy.__version__} is installed, but finds no usable NVIDIA GPU: "
                "`nvidia-smi` should list one, with a driver as new as CuPy's CUDA. Use cpu meanwhile"
            )
        count = cupy.cuda.runtime.getDeviceCount()
        if self.index >= count:
            raise DeviceUnavailable(
                f"{self.name} is not there: this machine has {counted(count, 'CUDA GPU')}, from cuda:0 on"
            )
        self.xp = cupy

    def matmul(self, a, b):
        """A weight times the columns of many pictures, (F, K) @ (N, K, M), as one large product: not N small ones."""
        if a.ndim != b.ndim - 1:
            return super().matmul(a, b)
        b = self.xp.moveaxis(b, 0, -2)  # (K, N, M), with groups (G, K/G, N, M)
        product = super().matmul(a, b.reshape(*b.shape[:-2], -1))  # (F, N*M)
        return self.xp.moveaxis(product.reshape(*product.shape[:-1], *b.shape[-2:]), -2, 0)

    def matmul_sum(self, a, b):
        a = self.xp.moveaxis(a, 0, -2)  # (F, N, M)
        b = self.xp.moveaxis(b, 0, -3)  # (N, M, K)
        return super().matmul(a.reshape(*a.shape[:-2], -1), b.reshape(*b.shape[:-3], -1, b.shape[-1]))

    def free_memory(self):
        with self:
            self.xp.get_default_memory_pool().free_all_blocks()

    def _current(self):
        return self.xp.cuda.Device(self.index)

    def _receive(self, array, source):
        if isinstance(array, np.ndarray):
            return self.asarray(array)
        if source.xp is not self.xp:
            return super()._receive(array, source)
        if source.name in self.not_straight_from:
            return self.asarray(to_numpy(array))
        return self._receive_from_gpu(array, source)

    def _receive_from_gpu(self, array, source):
        """A copy between GPUs, put in order by events on both sides.

        The copy must not start before the source's kernels have written the array, and the source must not
        reuse the memory before the copy has read it. Both streams wait for events; the host waits for nothing.
        """
        cupy = self.xp
        with source:
            array = cupy.ascontiguousarray(array)
            source_stream = cupy.cuda.get_current_stream()
            written = source_stream.record(cupy.cuda.Event(disable_timing=True))
        with self:
            stream = cupy.cuda.get_current_stream()
            stream.wait_event(written)
            copy = cupy.empty_like(array)
            copy.data.copy_from_device_async(array.data, array.nbytes, stream)
            read = stream.record(cupy.cuda.Event(disable_timing=True))
        with source:
            source_stream.wait_event(read)
        return copy

    def check_link(self, other):
        """Copy 4 MiB to another GPU and back, and compare every byte; models ask for it when they are placed.

        On some machines copies from GPU to GPU arrive wrong, without an error. Then all later ones go through the host,
        and a RuntimeWarning says so.
        """
        if not isinstance(other, Cuda) or other is self:
            return
        sent = np.random.default_rng(0).integers(0, 256, 4 * MiB, dtype=np.uint8)
        for source, target in ((self, other), (other, self)):
            received = to_numpy(target._receive_from_gpu(source.asarray(sent), source))
            wrong = int((received != sent).sum())
            if wrong:
                target.not_straight_from.add(source.name)
                warnings.warn(
                    f"{wrong:,} of {sent.size:,} bytes copied from {source.name} to {target.name} arrived wrong: such "
                    "copies go through the host from now on, which is slower",
                    RuntimeWarning,
                    stacklevel=3,
                )
