"""Data: MNIST, drawn digits, folders of pictures, and the batches made of them."""

from minialex.data.digits import draw_digits, load_drawn_digits
from minialex.data.loader import ArrayBatches, DummyBatches, PictureBatches
from minialex.data.mnist import load_mnist, read_idx
from minialex.data.photo import as_text, digit_from_picture

__all__ = [
    "ArrayBatches",
    "DummyBatches",
    "PictureBatches",
    "as_text",
    "digit_from_picture",
    "draw_digits",
    "load_drawn_digits",
    "load_mnist",
    "read_idx",
]
