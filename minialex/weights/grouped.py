"""Parameters in and out: whole arrays under their names, on the host, whatever the devices."""

from collections.abc import Mapping

import numpy as np

from minialex.devices.device import device_of, is_array, to_numpy, transfer
from minialex.errors import DeviceMismatch
from minialex.layers.layer import Array, Layer
from minialex.layers.names import check_different
from minialex.layers.parameter import Buffer, Parameter
from minialex.layers.settings import unmasked
from minialex.words import a_or_an, counted, yes_or_no

Named = tuple[str, Parameter | Buffer]  # as `named_parameters()` and `named_buffers()` give them


def export_grouped(model: Layer, grads: bool = False) -> dict[str, np.ndarray]:
    """The parameters and buffers by name, as NumPy arrays: copies, whole, whatever the devices. Or the gradients.

    >>> from minialex.layers import Linear
    >>> {name: array.shape for name, array in export_grouped(Linear(3, 2)).items()}
    {'weight': (2, 3), 'bias': (2,)}
    """
    grads = yes_or_no(grads, "grads")
    named = model.named_parameters()
    missing = [name for name, p in named if p.grad is None]
    if grads and missing:
        raise ValueError(f"export_grouped: {missing[0]} has no gradient yet: call backward first")
    if grads:
        return gather(named, [p.grad for _, p in named])
    named = named + model.named_buffers()
    return gather(named, [p.value for _, p in named])


def import_grouped(model: Layer, arrays: Mapping[str, np.ndarray]) -> None:
    """Put whole arrays into the model's parameters and buffers, in place, in their dtype.

    Raises, before anything is changed: ValueError when a name is missing or unknown, a shape is another one, or what an
    array holds is no real number, or hidden by a mask, or finite and too large for the dtype here; TypeError for what
    is no array; DeviceMismatch for one that is not on the host.
    """
    named = model.named_parameters() + model.named_buffers()
    for (_, p), part in zip(named, scatter(named, arrays), strict=True):
        put(p.value, part)


def gather(named: list[Named], values: list[Array]) -> dict[str, np.ndarray]:
    """One array for each parameter -> whole arrays on the host, by name; the towers' parts are put together."""
    check_different(named, "export")
    whole, missing = {}, {}
    for (name, p), value in zip(named, values, strict=True):
        value = to_numpy(value)
        target = whole.setdefault(name, np.empty(whole_shape(p), value.dtype))
        target[rows_of(p)] = value
        missing[name] = missing.get(name, target.size) - value.size
    for name, count in missing.items():
        if count:
            are = counted(count, "number is", "numbers are")
            raise ValueError(f"{name}: one tower's part alone is here, the other's {are} missing")
    return whole


def scatter(named: list[Named], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Whole arrays by name -> the one, or the part, that belongs to each parameter; names and shapes must fit."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays with names are needed, a dict; this is {a_or_an(type(arrays).__name__)}")
    check_different(named, "import")
    wanted = dict(named)
    problems = [f"{name} is missing" for name in wanted if name not in arrays]
    problems += [f"{str(name)[:80]} is unknown here" for name in arrays if name not in wanted]
    found = {name: real_numbers(name, arrays[name]) for name in wanted if name in arrays}
    problems += [
        f"{name} has shape {array.shape}, the model {shape}"
        for name, array in found.items()
        if array.shape != (shape := whole_shape(wanted[name]))
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError("these arrays belong to another model: " + "; ".join(problems[:4]) + more)
    for name, array in found.items():
        if type(array) is not np.ndarray:
            raise DeviceMismatch(f"{name} is on {device_of(array).name}: use mx.to_numpy(array)")
        check_range(name, array, wanted[name].value.dtype)
    return [found[name][rows_of(p)] for name, p in named]


def real_numbers(name: str, array: Array) -> Array:
    """An array as a plain one. Raises, with its name, TypeError for what is none, ValueError for texts and the like."""
    array = unmasked(array, name)
    if not is_array(array) and hasattr(array, "__array__"):  # one of NumPy's numbers, or a tensor of others
        array = np.asarray(array)
    if not is_array(array):
        raise TypeError(f"{name} is {a_or_an(type(array).__name__)}, not an array: use np.array(...)")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} is an array of {array.dtype}, not of real numbers, as float32 are")
    return array


def check_range(name: str, array: Array, dtype: np.dtype) -> None:
    """Raises ValueError, with the number, where one that is finite would become infinite in this dtype."""
    if np.can_cast(array.dtype, dtype):
        return
    array = to_numpy(array)
    with np.errstate(over="ignore"):
        lost = np.isinf(array.astype(dtype)) & np.isfinite(array)
    if lost.any():
        raise ValueError(
            f"{name} has {array[lost].flat[0]:g} in it, which is too large for {dtype} and would become infinite; the "
            f"largest there is {np.finfo(dtype).max:g}"
        )


def whole_shape(p: Parameter) -> tuple[int, ...]:
    """The shape of the whole of which a parameter may be one tower's part."""
    return p.value.shape if p.part is None else (p.part[2], *p.value.shape[1:])


def rows_of(p: Parameter):
    """Where a parameter's values lie in the whole."""
    return ... if p.part is None else slice(*p.part[:2])


def put(target: Array, values: np.ndarray) -> None:
    """Copy host values into an array on any device, in that array's dtype."""
    device = device_of(target)
    with device:
        target[...] = transfer(np.asarray(values, target.dtype, order="C"), device)
