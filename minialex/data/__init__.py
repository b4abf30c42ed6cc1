"""Data: MNIST, drawn digits, folders of pictures, and the batches made of them."""

from minialex.data.digits import draw_digits, load_drawn_digits
from minialex.data.loader import ArrayBatches, PictureBatches
from minialex.data.mnist import load_mnist, read_idx
from minialex.data.photo import digit_from_picture

__all__ = [
    "ArrayBatches",
    "PictureBatches",
    "digit_from_picture",
    "draw_digits",
    "load_drawn_digits",
    "load_mnist",
    "read_idx",
]
