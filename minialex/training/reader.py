"""Reading a digit with the weights of a run: its LeNet-5, and what knows whether it is a digit at all."""

import os
from dataclasses import dataclass
from pathlib import Path

from minialex.data import class_names
from minialex.data.photo import PreparedDigit, digit_from_picture
from minialex.errors import NotFinite
from minialex.models.lenet import LeNet5, lenet5
from minialex.training.doubt import DOUBT, Doubt, Reading, load_doubt, read_prepared
from minialex.training.runs import check_whose, load_run, weight_file
from minialex.weights import import_grouped


@dataclass(frozen=True, eq=False)
class Reader:
    """A run's LeNet-5, and its second network; `without` says why there is none, `taken_for` which LeNet-5 it is."""

    weights: Path
    model: LeNet5
    doubt: Doubt | None
    without: str
    taken_for: str

    def read(self, picture) -> Reading:
        """What it reads there. picture: what `digit_from_picture` takes, or has made."""
        try:
            return read_prepared(self.model, _prepared(picture), self.doubt)
        except NotFinite as error:
            raise NotFinite(f"with the weights of {self.weights} {error}: they are of no use") from None


def load_reader(weights: str | os.PathLike) -> Reader:
    """The reader of a run's folder, or of a weight file. Raises ValueError for weights that are no LeNet-5's."""
    weights = Path(weights)
    arrays, settings = load_run(weights)
    if "c1.weight" not in arrays:
        why, remedy = "has no c1, it is no LeNet-5's", "minialex classify reads photographs"
        check_whose(weights, "LeNet-5", arrays, settings, why=f"{why}; it ", remedy=remedy)
        raise ValueError(f"{weights} {why}; {remedy}")
    variant, activation = settings.get("variant", "modern"), settings.get("activation", "tanh")
    names = names_of_outputs(weights, arrays, settings)
    model = lenet5(variant, activation=activation, num_classes=len(names))
    import_grouped(model, arrays)
    model.classes = names
    return Reader(weights, model, *doubt_of(weights, model), f"variant {variant}, activation {activation}")


def read_digit(weights, picture, doubt: Doubt | None = None) -> Reading:
    """What a LeNet-5 reads in a picture, and whether that is a digit at all: `.digit`, `.shares`, `.sure`, `.why`.

    weights: a run's folder, or a weight file, whose second network, learned from what is no digit, is asked as well; or
    a LeNet-5, which is asked alone unless there is `doubt`, of `load_doubt`. picture: a path, an array, a Pillow image,
    or what `mx.data.digit_from_picture` has made. For several pictures `load_reader(weights).read(picture)` loads once.
    It is not sure where two pieces of ink stand side by side, where the second network says no, and where no class has
    half of the share. A model whose classes are not the ten digits gives no verdict: `.sure` is None.
    Raises NotFinite where the model gives no numbers.

    >>> paper = np.full((90, 60), 250, dtype=np.uint8)
    >>> paper[15:75, 27:33] = 40                            # a "1"
    >>> reading = read_digit(lenet5(), paper)               # which has learned nothing
    >>> reading.shares.shape, reading.sure, reading.why
    ((10,), False, 'no digit has half of the share')
    """
    if isinstance(weights, (str, os.PathLike)):
        return load_reader(weights).read(picture)
    return read_prepared(weights, _prepared(picture), doubt)


def _prepared(picture):
    return picture if isinstance(picture, PreparedDigit) else digit_from_picture(picture)


def doubt_of(weights, model) -> tuple[Doubt | None, str]:
    """The second network, which knows what is no digit; or None and a sentence that says why there is none."""
    if model.classes != class_names("mnist"):
        return (
            None,
            f"Whether it is any of these at all was not asked: {weights} knows other classes than digits.",
        )
    path = weight_file(weights).with_name(DOUBT)
    if path.is_file() and (doubt := load_doubt(path, model)):
        return doubt, ""
    why = "belongs to other weights" if path.is_file() else "is not there"
    return None, (
        f"Whether it is a digit at all was judged by its share alone, which letters deceive: {path} {why}. "
        "lenet_mnist.py makes it at the end of a training; of a finished run with --resume."
    )


def names_of_outputs(weights, arrays, settings) -> list[str]:
    """What a LeNet-5 tells apart: the classes that its weights name, else those of its run's set, else digits."""
    bias = arrays.get("output.bias")  # 1998's has none, and ten codes
    count = 10 if bias is None else len(bias)
    names = settings.get("classes") or class_names(settings.get("dataset", "mnist"))
    if len(names) == count:
        return names
    if "classes" in settings or "dataset" in settings:
        raise ValueError(
            f"{weights} has {count} outputs, and is said to know {len(names)} classes: it is damaged"
        )
    return [f"class {k}" for k in range(count)]
