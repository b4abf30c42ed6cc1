"""A whole network: a Sequential that knows its loss, its classes and the pictures that it wants."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from minialex.devices.device import is_array, place
from minialex.layers.layer import Array, Layer
from minialex.layers.names import check_layers
from minialex.layers.sequential import Sequential
from minialex.shapes import positive
from minialex.words import a_or_an

if TYPE_CHECKING:
    from typing_extensions import Self


def one_picture(shape, name: str) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sizes) != 3:
        raise ValueError(f"{name} is (C, H, W), as (1, 28, 28), of one picture; not {shape!r}")
    return tuple(positive(size, f"{name}: each size") for size in sizes)


def names_or_none(names, name: str) -> list[str] | None:
    """As a list of texts; one text would be taken for the names of as many classes as it has letters."""
    if names is None or (type(names) is list and all(isinstance(one, str) for one in names)):
        return names
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        raise TypeError(f'{name} are the names of all classes, as ["cat", "dog"], not {names!r}')
    return [str(one) for one in names]


def no_loss(value, name: str):
    """For what is no layer: a layer is not asked, see Holder."""
    if value is None:
        return None
    raise TypeError(f"{name} is a layer, SoftmaxCrossEntropy(), not {value!r}")


class Model(Sequential):
    """A Sequential that is a whole network: it ends in logits, and nobody needs the gradient of its picture.

    loss: the loss layer that belongs to it; picture_shape: (C, H, W); `prepare` turns pictures as they come from a
    file into what it was made for. architecture: what it is among networks of its shapes, for weights/record.py, as
    minialex.models says it; classes: their names, in its order. A model of your own may leave out all of these.
    Raises TypeError for a loss that is no layer, or takes no labels, ValueError for a picture_shape that is not three
    sizes.

    >>> from minialex.layers.linear import Flatten, Linear
    >>> from minialex.layers.loss import SoftmaxCrossEntropy
    >>> layers = {"flatten": Flatten(), "fc": Linear(16, 3)}
    >>> model = Model(**layers, loss=SoftmaxCrossEntropy(), picture_shape=(1, 4, 4))
    >>> model.loss.forward(model.forward(np.zeros((2, 1, 4, 4), np.float32)), [0, 2]).shape
    ()
    """

    takes = {"classes": names_or_none, "picture_shape": one_picture, "loss": no_loss}
    loss: Layer
    picture_shape: tuple[int, int, int]
    architecture: dict
    classes: list[str]
    is_whole = True

    def __init__(self, *layers: Layer, loss: Layer | None = None, picture_shape=None, **named: Layer):
        super().__init__(*layers, **named)
        if loss is not None:
            check_layers(type(self).__name__, {"loss": loss})
            self.loss = loss
        if picture_shape is not None:
            self.picture_shape = picture_shape

    def __setattr__(self, name, value):
        if name == "loss" and isinstance(value, Layer) and not hasattr(value, "take_labels"):
            raise TypeError(
                f"{type(self).__name__}: loss is {a_or_an(type(value).__name__)}, which takes no labels: give "
                "SoftmaxCrossEntropy(), or one of your own that derives from minialex.layers.loss.Loss"
            )
        super().__setattr__(name, value)

    def to(self, devices) -> "Self":
        """Move to a device, the loss too; with towers inside, to two: "cuda:0,cuda:1". The logits are on the first."""
        super().to(devices)
        if getattr(self, "loss", None) is not None:
            self.loss.to(place(devices)[0])
        return self

    def backward(self, grad_logits: Array, input_grad: bool = False) -> Array:
        return super().backward(grad_logits, input_grad=input_grad)

    def check_input(self, x) -> None:
        """Pictures of another size; else the first layer for which they are too many numbers would speak up."""
        C, H, W = getattr(self, "picture_shape", (None,) * 3)
        if C and is_array(x) and x.ndim == 4 and x.shape[1] == C and x.shape[2:] != (H, W):
            raise ValueError(f"{self} takes pictures of {H}x{W}, the input has shape {x.shape}")
