"""Layers side by side: paths over the same picture, whose outputs are joined.

Inception puts them one behind the other (Szegedy et al. 2014, figure 2), ResNet adds them (He et al. 2015, figure 2).
Backward of a concatenation cuts the gradient, of an addition hands the same one to each path: nobody may write into it.
"""

from collections.abc import Mapping, Sequence

from minialex.layers.layer import Array, Layer
from minialex.layers.names import check_keys, check_layers, give_name
from minialex.layers.sequential import all_layers
from minialex.layers.settings import finite
from minialex.words import a_or_an, did_you_mean, is_one_of

MERGES = ("concat", "add")


def one_of_merges(merge: str, name: str) -> str:
    if not is_one_of(merge, MERGES):
        raise ValueError(f'{name} must be "concat" or "add", not {merge!r}{did_you_mean(merge, MERGES)}')
    return merge


class Branches(Layer):
    """merge="concat":  y = the paths' outputs one behind the other along the channels
    merge="add":     y = their sum

    Each path gets the same x. Backward: grad_x = the sum of what the paths give back, the first one's first.

    paths: layers by name, in order; what is more than one layer is a Sequential.
    Shapes: x is what each path takes; the outputs have the same shape, but for "concat" another number of channels.
    Raises ValueError without a path or for an unknown merge, when the outputs do not fit (naming the path and both
    shapes), or when a layer stands in two paths.

    >>> block = Branches({"shortcut": Identity(), "body": Scale(10.0)}, merge="add")
    >>> block.forward(np.array([[1.0, 2.0]]))
    array([[11., 22.]])
    >>> block.backward(np.array([[1.0, -1.0]]))
    array([[ 11., -11.]])
    """

    hangs_on_parts = True
    takes = {"merge": one_of_merges}
    fixed = ("paths",)

    def __init__(self, paths: Mapping[str, Layer], merge: str = "concat"):
        if not isinstance(paths, Mapping):
            raise TypeError(
                f"Branches takes its paths by name, a dict; this is {a_or_an(type(paths).__name__)}"
            )
        if not paths:
            raise ValueError("Branches needs at least one path")
        check_layers("Branches", paths)
        self.paths, self.merge = dict(paths), merge
        check_keys(self)
        inside = [id(layer) for path in self.paths.values() for layer in all_layers(path)]
        if len(set(inside)) < len(inside):
            raise ValueError("Branches: the same layer stands in two of its paths; make two")
        for name, path in self.paths.items():
            give_name(path, name, owner=self)

    def forward(self, x: Array) -> Array:
        ys = {name: path.forward(x) for name, path in self.paths.items()}
        self._check_fit(ys)
        if self.merge == "concat":
            self.save(channels=[y.shape[1] for y in ys.values()])
            return self.xp.concatenate(list(ys.values()), axis=1)
        return sum_of(list(ys.values()))

    def backward(self, grad_y: Array, input_grad: bool = True) -> Array:
        if self.merge == "concat":
            grad_ys = dict(zip(self.paths, cut(grad_y, self.saved.channels), strict=True))
        else:
            grad_ys = dict.fromkeys(self.paths, grad_y)
        grad_xs = {
            name: path.backward(grad_ys[name], input_grad=input_grad) for name, path in self.paths.items()
        }
        return sum_of(list(grad_xs.values())) if input_grad else None

    def children(self) -> dict[str, Layer]:
        return self.paths

    @property
    def concatenates(self) -> bool:
        return self.merge == "concat"

    def split(self, parts: int) -> list[Layer]:
        """Towers: each adds its own maps; of a concatenation the maps would stand in another order."""
        if self.concatenates:
            raise ValueError(cannot_be_dealt_out(self, parts))
        dealt = {name: path.split(parts) for name, path in self.paths.items()}
        return [
            Branches({name: pieces[number] for name, pieces in dealt.items()}, "add")
            for number in range(parts)
        ]

    def _check_fit(self, ys):
        """Do the outputs join? Of what is added all axes count, of what is concatenated all but the channels."""
        (first, y), *others = ys.items()
        if self.merge == "concat" and y.ndim < 2:
            raise ValueError(
                f"{self}: {first} gives shape {y.shape}; only what has channels, (N, C, ...), can be concatenated"
            )
        for name, other in others:
            here, there = list(y.shape), list(other.shape)
            if self.merge == "concat" and len(here) == len(there) >= 2:
                here[1] = there[1] = None
            if here != there:
                how = "concatenated along the channels" if self.merge == "concat" else "added"
                raise ValueError(
                    f"{self}: {first} gives shape {y.shape}, {name} {other.shape}: they cannot be {how}"
                )


class Identity(Layer):
    """y = x, the same array: a path that leaves everything as it is, a shortcut (He et al. 2015, equation 1)

    >>> Identity().forward(np.array([1.0, 2.0]))
    array([1., 2.])
    """

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad_y: Array) -> Array:
        return grad_y


class Scale(Layer):
    """y = factor * x, a constant: Inception-ResNet's residuals are scaled by 0.1 to 0.3 (Szegedy et al. 2016, 3.3)

    >>> Scale(0.5).forward(np.array([1.0, 2.0]))
    array([0.5, 1. ])
    """

    takes = {"factor": finite}

    def __init__(self, factor: float):
        self.factor = factor

    def forward(self, x: Array) -> Array:
        return self.factor * x

    def backward(self, grad_y: Array) -> Array:
        return self.factor * grad_y


def cannot_be_dealt_out(layer, parts=2) -> str:
    return (
        f"{layer} concatenates: dealt out to {parts} towers, its channels would stand in another order than in one "
        '(each tower has some of every path); only paths that are added can be dealt out, merge="add"'
    )


def cut(array: Array, channels: Sequence[int]) -> list[Array]:
    """So many channels for each, as views."""
    parts, first = [], 0
    for count in channels:
        parts.append(array[:, first : first + count])
        first += count
    return parts


def sum_of(arrays: list[Array]) -> Array:
    """Their sum, the first one's first. None of them is written into; one alone is handed on."""
    total, *others = arrays
    if others:
        total = total + others[0]
        for array in others[1:]:
            total += array
    return total
