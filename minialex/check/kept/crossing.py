"""Arrays of two devices in the hands of a function written with NumPy: they meet nowhere but through `send`."""

import numpy as np

from minialex.devices.device import Device, device_of, is_array, transfer
from minialex.errors import DeviceMismatch
from minialex.words import a_or_an


class OnDevice(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that knows where it lies. NumPy's functions take it, and run there; two places raise DeviceMismatch.

    So a function that computes on both devices needs no word on which is the current one, and a transfer that it
    forgot raises in its own line.

    >>> x0, x1 = (OnDevice(Device(f"sim:{i}").asarray(np.ones((1, 1)))) for i in (0, 1))
    >>> np.concatenate([x0, x1], axis=1)
    Traceback (most recent call last):
    minialex.errors.DeviceMismatch: an array on sim:0 meets one on sim:1: send one of them to where the other is
    """

    def __init__(self, array):
        self.array = array

    @property
    def device(self) -> Device:
        return device_of(self.array)

    @property
    def shape(self):
        return self.array.shape

    @property
    def ndim(self):
        return self.array.ndim

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def size(self):
        return self.array.size

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        found = _on_its_device(lambda array, key: array[key], (self, key), {})
        return found if isinstance(found, OnDevice) else OnDevice(found)

    def __setitem__(self, key, value):
        _on_its_device(lambda array, key, value: array.__setitem__(key, value), (self, key, value), {})

    def __getattr__(self, name):  # .astype, .reshape, .sum, .T, ... of the array
        if name.startswith("_"):
            raise AttributeError(name)
        with self.device:
            found = getattr(self.array, name)
        if not callable(found):
            return OnDevice(found) if is_array(found) else found
        return lambda *args, **kwargs: _on_its_device(
            lambda array, *args, **kwargs: getattr(array, name)(*args, **kwargs), (self, *args), kwargs
        )

    def __repr__(self):
        return f"{self.array!r}"

    def __array__(self, dtype=None, copy=None):
        raise DeviceMismatch(
            f"an array on {self.device.name} is used as one of NumPy's: `send` is what moves arrays"
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return _on_its_device(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return _on_its_device(function, args, kwargs)


def _on_its_device(function, args, kwargs):
    places = list(dict.fromkeys(one.device for one in _within((args, kwargs))))
    if len(places) > 1:
        first, second = (place.name for place in places[:2])
        raise DeviceMismatch(
            f"an array on {first} meets one on {second}: send one of them to where the other is"
        )
    with places[0]:
        result = function(*_bare(args), **_bare(kwargs))
    return OnDevice(result) if is_array(result) else result


def _within(value):
    if isinstance(value, OnDevice):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return []
    return [one for inside in value for one in _within(inside)]


def _bare(value):
    if isinstance(value, OnDevice):
        return value.array
    if isinstance(value, (list, tuple)):
        return type(value)(_bare(one) for one in value)
    return {name: _bare(one) for name, one in value.items()} if isinstance(value, dict) else value


def sender(devices):
    """send(array, number): a copy of an array on the device of that number; the same array where it is there."""

    def send(array, number):
        if not isinstance(array, OnDevice):
            raise TypeError(f"send takes an array of a device, not {a_or_an(type(array).__name__)}")
        return OnDevice(transfer(array.array, devices[number]))

    return send
