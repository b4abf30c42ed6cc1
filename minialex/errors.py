"""The exceptions that users catch. Each message quotes what was found, what was wanted, and what to do."""


class DeviceMismatch(ValueError):
    """An array lives on another device than the layer or array that it meets. Only `transfer` moves arrays."""


class DeviceUnavailable(RuntimeError):
    """A device was named that this machine cannot offer: no such GPU, no driver, or no CuPy."""


class DtypeMismatch(TypeError):
    """An array has another dtype than the layer computes in. `layer.astype(...)` or `x.astype(...)` mends it."""


class BackwardBeforeForward(RuntimeError):
    """`backward` was called without a `forward` before it, or twice after one `forward`."""


class NotFinite(ArithmeticError):
    """A loss or a parameter became NaN or infinite."""


class Diverged(NotFinite):
    """A loss grew beyond all use during training, though it is a finite number still."""


class DataError(ValueError):
    """A data file is damaged, incomplete, or not the file that it should be."""


class DownloadFailed(ConnectionError):
    """No mirror delivered a good file; the message lists what each one answered."""


class FolderInUse(RuntimeError):
    """Another program writes its results to this folder; the message says which."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to another model."""


class ClusterError(RuntimeError):
    """Processes that train together have lost each other, or are not alike; the message says which, and in what."""
