"""Data: MNIST, its relatives and CIFAR-10 by name, drawn digits, folders of pictures, and the batches made of them."""

from minialex.data.digits import draw_digits, load_drawn_digits
from minialex.data.loader import ArrayBatches, DummyBatches, PictureBatches
from minialex.data.mnist import load_mnist, read_idx
from minialex.data.named import class_names, load
from minialex.data.photo import as_text, digit_from_picture
from minialex.data.typed import digit_from_text

__all__ = [
    "ArrayBatches",
    "DummyBatches",
    "PictureBatches",
    "as_text",
    "class_names",
    "digit_from_picture",
    "digit_from_text",
    "draw_digits",
    "load",
    "load_drawn_digits",
    "load_mnist",
    "read_idx",
]
