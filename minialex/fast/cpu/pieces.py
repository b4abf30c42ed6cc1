"""Large arrays, worked through piece by piece: pieces that fit into a cache, several at a time on a CPU.

A formula of several operations then reads and writes its intermediate results in the cache. For one operation alone
this gains nothing: ReLU took longer in pieces.

Measured on the normalisation of 48 maps of 55x55, batch 64, one thread: predicted 1.5 times as fast, found 1.5
forward and 1.6 backward; max-pooling 1.8 forward and 1.2 backward; the update of AlexNet's weights 1.7.
"""

from minialex.devices.device import Device, device_of

SHARE_BYTES = 8 * 2**20  # a thread takes on at least so much: to wake another takes a fifth of a millisecond


def for_pieces(function, device: Device, count: int, nbytes: int, share_bytes: int = SHARE_BYTES) -> None:
    """Call function(rows) for slices of `count` rows, which take `nbytes` in all: each is about a cache's size.

    share_bytes: a thread takes on at least so much; less, where a piece is read many times.

    >>> for_pieces(print, Device("sim:0"), count=10, nbytes=10**9)
    slice(0, 10, None)
    """
    if device.piece_bytes is None or nbytes <= 4 * device.piece_bytes:  # fewer are not worth it
        return function(slice(0, count))
    rows = max(1, count * device.piece_bytes // nbytes)

    def work(share):
        for row in range(share.start, share.stop, rows):
            function(slice(row, min(row + rows, share.stop)))

    device.map(work, device.shares(count, least=max(1, count * share_bytes // nbytes)))


def in_pieces(function, *arrays, axis: int, outputs: int = 1):
    """function(*arrays), worked out for slices along an axis, which must not depend on each other.

    The arrays are of one shape; the result, or each of several `outputs`, has shape and dtype of the first.

    >>> in_pieces(lambda x, y: x + y, np.ones(3), np.ones(3), axis=0)
    array([2., 2., 2.])
    """
    first = arrays[0]
    device = device_of(first)
    if device.piece_bytes is None or first.nbytes <= 4 * device.piece_bytes:
        return function(*arrays)
    wholes = [device.empty_like(first) for _ in range(outputs)]

    def work(rows):
        here = (*(slice(None),) * axis, rows)
        results = function(*(array[here] for array in arrays))
        for whole, result in zip(wholes, results if outputs > 1 else [results], strict=True):
            whole[here] = result

    for_pieces(work, device, first.shape[axis], first.nbytes)
    return tuple(wholes) if outputs > 1 else wholes[0]
