"""The SGD rule, some rows at a time: what is read again is in the cache still."""

from minialex.devices.device import device_of
from minialex.fast.cpu.pieces import for_pieces


def update(w, v, grad, lr, momentum, decay) -> None:
    """v <- momentum * v - decay * w - lr * grad;  w <- w + v, in place"""
    if w.ndim == 0:
        w, v, grad = w[None], v[None], grad[None]  # views

    def move(rows):
        w_part, v_part = w[rows], v[rows]  # views
        v_part *= momentum
        if decay:
            v_part -= decay * w_part
        v_part -= lr * grad[rows]
        w_part += v_part

    for_pieces(move, device_of(w), len(w), w.nbytes)
