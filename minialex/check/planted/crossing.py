"""The exchange between towers on two devices: right, and wrong."""

import numpy as np

from minialex.check.planted.registry import right, wrong


@right
def device_exchange_forward(x0, x1, send):
    y0 = np.concatenate([x0, send(x1, 0)], axis=1)
    y1 = np.concatenate([send(x0, 1), x1], axis=1)
    return y0, y1


@wrong("device_exchange_forward", "nothing sent")
def device_exchange_nothing(x0, x1, send):
    """The arrays are joined where they lie: real devices refuse, or fetch every number on their own."""
    return np.concatenate([x0, x1], axis=1), np.concatenate([x0, x1], axis=1)


@wrong("device_exchange_forward", "one way alone")
def device_exchange_one_way(x0, x1, send):
    """x1 is sent to device 0; x0 is joined to x1 without being sent."""
    return np.concatenate([x0, send(x1, 0)], axis=1), np.concatenate([x0, x1], axis=1)


@wrong("device_exchange_forward", "joined, then sent")
def device_exchange_round_trip(x0, x1, send):
    """y0 is sent as a whole: right numbers, but those of x1 cross twice, there and back."""
    y0 = np.concatenate([x0, send(x1, 0)], axis=1)
    return y0, send(y0, 1)


@wrong("device_exchange_forward", "own ones sent")
def device_exchange_own(x0, x1, send):
    """Each device is sent what it has already."""
    return np.concatenate([send(x0, 0), x1], axis=1), np.concatenate([x0, send(x1, 1)], axis=1)


@wrong("device_exchange_forward", "everything sent")
def device_exchange_all(x0, x1, send):
    """To be safe, what lies there already is sent too."""
    y0, y1 = (np.concatenate([send(x0, device), send(x1, device)], axis=1) for device in (0, 1))
    return y0, y1


@wrong("device_exchange_forward", "each its own first")
def device_exchange_own_first(x0, x1, send):
    """Device 1 puts its own channels first."""
    return np.concatenate([x0, send(x1, 0)], axis=1), np.concatenate([x1, send(x0, 1)], axis=1)


@right
def device_exchange_backward(grad_y0, grad_y1, channels0, send):
    grad_x0 = grad_y0[:, :channels0] + send(grad_y1[:, :channels0], 0)
    grad_x1 = send(grad_y0[:, channels0:], 1) + grad_y1[:, channels0:]
    return grad_x0, grad_x1


@wrong("device_exchange_backward", "nothing sent")
def device_exchange_back_nothing(grad_y0, grad_y1, channels0, send):
    """The two gradients are added where they lie, each on its own device."""
    return grad_y0[:, :channels0] + grad_y1[:, :channels0], grad_y0[:, channels0:] + grad_y1[:, channels0:]


@wrong("device_exchange_backward", "forgets one gradient")
def device_exchange_back_own(grad_y0, grad_y1, channels0, send):
    """What the other tower should send home is lost."""
    return grad_y0[:, :channels0], grad_y1[:, channels0:]


@wrong("device_exchange_backward", "own one lost")
def device_exchange_back_other(grad_y0, grad_y1, channels0, send):
    """What comes home takes the place of what was there: the two are to be added."""
    return send(grad_y1[:, :channels0], 0), send(grad_y0[:, channels0:], 1)


@wrong("device_exchange_backward", "sent whole, then cut")
def device_exchange_back_whole(grad_y0, grad_y1, channels0, send):
    """All channels are sent, and cut at home: right numbers, but those that nobody wants cross too."""
    grad_x0 = grad_y0[:, :channels0] + send(grad_y1, 0)[:, :channels0]
    return grad_x0, send(grad_y0, 1)[:, channels0:] + grad_y1[:, channels0:]


@wrong("device_exchange_backward", "added on device 0")
def device_exchange_back_by_way_of_0(grad_y0, grad_y1, channels0, send):
    """All of grad_y1 goes to device 0, and device 1's part comes back from there: it crosses twice."""
    total = grad_y0 + send(grad_y1, 0)
    return total[:, :channels0], send(total[:, channels0:], 1)


@wrong("device_exchange_backward", "devices swapped")
def device_exchange_back_swapped(grad_y0, grad_y1, channels0, send):
    """Each part is sent to the device where it lies already."""
    grad_x0 = grad_y0[:, :channels0] + send(grad_y1[:, :channels0], 1)
    return grad_x0, send(grad_y0[:, channels0:], 0) + grad_y1[:, channels0:]


@wrong("device_exchange_backward", "halves")
def device_exchange_back_halves(grad_y0, grad_y1, channels0, send):
    """Cut in the middle: right for towers of equal width."""
    return device_exchange_backward(grad_y0, grad_y1, grad_y0.shape[1] // 2, send)
