"""`mine`: a network made of what the learner wrote and kept, ours in the place of what is missing or too slow."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minialex.check.html import table_html
from minialex.check.kept.exercises import names
from minialex.check.kept.folder import file_of, folder, shown
from minialex.check.kept.keeping import all_kept, placed, tried
from minialex.check.kept.layers import MAKERS, fits, layer_of, parts, taken
from minialex.devices.device import to_numpy
from minialex.layers import Layer, Loss
from minialex.layers.sequential import all_layers
from minialex.models.lenet import LeNet5, lenet5
from minialex.training.loop import train_step
from minialex.training.optim import SGD, no_such_number
from minialex.words import a_or_an, check_choice, counted, did_you_mean, is_one_of

# Of each layer: what its two functions are kept as.
FUNCTIONS = {
    "Conv2D": "conv2d", "MaxPool2D": "maxpool", "AvgPool2D": "avgpool", "Subsampling": "subsampling", "ReLU": "relu",
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Linear": "linear", "RBF": "rbf", "LocalResponseNorm": "lrn",
    "Dropout": "dropout", "SoftmaxCrossEntropy": "softmax_cross_entropy", "MAPLoss": "map_loss",
    "Exchange": "device_exchange",
}  # fmt: skip
OURS = {ours.__name__: ours for ours in MAKERS}
LENET = ("Conv2D", "Tanh", "MaxPool2D", "Linear", "SoftmaxCrossEntropy")  # what "modern" is made of
SINGLE = {"SGD step": "sgd_step", "training loop": "training_loop"}


@dataclass
class Row:
    """One part of the table: what is kept of forward and backward (or of the one function), and which is used."""

    part: str
    kept: tuple[str, ...]
    yours: bool


class Mine:
    """What a learner has kept, as layers, an optimizer and a training loop; printed, a table of it.

    A layer is the learner's when its forward and its backward both are kept and quick enough; else it is ours. Their
    functions run in this process, as they stand in the files: an error shows their line.

    mine.Conv2D, mine.MaxPool2D, ...: classes with the arguments of ours. mine.has("lrn_forward"): is it kept?
    mine.oracle("conv2d_forward"): the right but slow function, to compare with; None if there is none.
    """

    def __init__(self, where: Path):
        self.folder = where
        self.notes: list[str] = []
        kept, slow, refused = {}, {}, set()
        for answer in [*all_kept(where).values(), *all_kept(where, slow=True).values()]:
            state = self._state_of(answer)
            if state:
                (slow if state == "slow" else kept).setdefault(answer.name, answer)
            else:
                refused.add(answer.name)
        self._refused = refused
        self._functions = {name: _function(answer) for name, answer in kept.items()}
        self._oracles = {name: _function(answer) for name, answer in slow.items()}
        self._classes = {
            name: layer_of(ours, *(self._functions[one] for one in _both(name)))
            for name, ours in OURS.items()
            if all(self.has(one) for one in _both(name))
        }

    def _state_of(self, answer):
        """ "right" or "slow"; None for what can't be used, with a note. One that was edited is checked first."""
        here = shown(answer.path)
        if answer.state == "unreadable":
            self.notes.append(f"{here} is not used: {answer.text}")
            return None
        if answer.state != "unchecked":
            return answer.state
        again = tried(answer.name, answer.text)
        if not again:
            self.notes.append(f"{here} was edited, and is not used: {again.said or 'not written yet'}")
            return None
        place = file_of(answer.name, self.folder, slow=again.state == "slow")
        if place != answer.path and place.exists():
            self.notes.append(
                f"{here} was edited, and is not used: {again.said}; its place is taken by {shown(place)}"
            )
            return None
        self.notes.append(f"{here} was edited, and checked again: {again.said}")
        if placed(again, answer.text, self.folder) and place != answer.path:
            answer.path.unlink()
            answer.path = place
        return again.state

    def has(self, name: str) -> bool:
        """Is a right and quick answer of this name kept? Raises ValueError for a name that no answer has."""
        check_choice(name, names(), "answer")
        return name in self._functions

    def function(self, name: str):
        """The kept function of this name. Raises KeyError, naming those that are there."""
        if name not in self._functions:
            there = ", ".join(self._functions) or "nothing"
            raise KeyError(f"{name} is not kept in {shown(self.folder)}, which has {there}")
        return self._functions[name]

    def oracle(self, name: str):
        """The kept function that is right and slow; None where there is none.

        Raises ValueError for a name that no answer has.
        """
        check_choice(name, names(), "answer")
        return self._oracles.get(name)

    def __getattr__(self, name):
        if name in OURS:
            return self._classes.get(name, OURS[name])
        raise AttributeError(f"mine has no {name!r}; it has {', '.join(OURS)}, SGD, train, lenet5, put_into")

    # ---- what is made of it ----

    def lenet5(self, variant: str = "modern", rng=None) -> LeNet5:
        """A LeNet-5 of the learner's layers, ours in the place of what is missing; the same weights as ours."""
        model = lenet5(variant, rng=rng)
        self.put_into(model)
        return model

    def put_into(self, model: Layer, only: str | None = None) -> list[str]:
        """Exchange the layers of a model for the learner's, where there are some; weights and names stay.

        Its loss too. only: one kind of them, "Exchange", say; so on simulated devices, where few functions run that
        were written for NumPy's own arrays. Returns the names of the layers that are the learner's now.
        Raises TypeError for what is no model, and ValueError for a kind that there is not.
        """
        if not isinstance(model, Layer):
            raise TypeError(
                f"put_into takes a model, whose layers it exchanges, not {a_or_an(type(model).__name__)}"
            )
        if only is not None and not is_one_of(only, OURS):
            raise ValueError(f"put_into exchanges {', '.join(OURS)}, not {only!r}{did_you_mean(only, OURS)}")
        loss, found = getattr(model, "loss", None), {}
        named = [(layer.name or f"{layer}", layer) for layer in all_layers(model)]
        for name, layer in named + [("loss", loss)] * isinstance(loss, Loss):
            kind = type(layer).__name__
            wanted = type(layer) in MAKERS and only in (None, kind)
            yours = self._classes.get(kind) if wanted else None
            if yours is not None and fits(yours, layer):
                object.__setattr__(layer, "__class__", yours)  # all that it holds, and its name, stay
                found[name] = True  # both towers' halves of a layer have one name
        return list(found)

    def SGD(
        self, parameters, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, *, penalty: float = 0.0
    ) -> SGD:
        """An optimizer that steps as the learner's `sgd_step` does; ours where it is not kept."""
        kind = _stepping(self.function("sgd_step")) if self.has("sgd_step") else SGD
        return kind(parameters, lr, momentum, weight_decay, penalty=penalty)

    def train(self, model, optimizer, batches) -> np.ndarray:
        """One epoch by the learner's `training_loop`, or by ours: the loss of each batch.

        batches: (x, labels) after (x, labels), as ArrayBatches.shuffled(epoch) gives them. The model has its loss, and
        is in training mode then.
        """
        batches = list(batches)
        model.train()  # it may have been tested since: dropout is for training
        if self.has("training_loop"):
            losses = self.function("training_loop")(model, model.loss, optimizer, batches)
            losses = np.asarray(losses, float)
            if losses.shape != (len(batches),):
                raise ValueError(
                    f"your training loop gave losses of shape {losses.shape} for "
                    f"{counted(len(batches), 'batch', 'batches')}"
                )
            return losses
        return np.array([to_numpy(train_step(model, optimizer, x, labels))[0] for x, labels in batches])

    # ---- the table ----

    def rows(self) -> list[Row]:
        found = []
        for name in OURS:
            kept = tuple(self._state(one) for one in _both(name))
            if name in LENET or any(state != "-" for state in kept):
                found.append(Row(name, kept, name in self._classes))
        for part, name in SINGLE.items():
            found.append(Row(part, (self._state(name),), self.has(name)))
        order = {name: number for number, name in enumerate((*LENET, *SINGLE))}
        return sorted(found, key=lambda row: order.get(row.part, len(order)))

    def _state(self, name):
        if self.has(name):
            return "yours"
        return "slow" if name in self._oracles else "not used" if name in self._refused else "-"

    def __str__(self):
        lines = [
            f"{first:<20} {second:<8} {third:<9} {last}".rstrip()
            for first, second, third, last in self._table()
        ]
        return "\n".join([*lines, *self._besides(), *self.notes])

    __repr__ = __str__

    def _repr_html_(self):
        head, *lines = self._table()
        rows = [(line, row.yours) for line, row in zip(lines, self.rows(), strict=True)]
        return table_html(head, rows, [*self._besides(), *self.notes])

    def _besides(self):
        """What is kept and is no part of a network."""
        parts = {name for layer in OURS for name in _both(layer)} | set(SINGLE.values())
        others = [name for name in names() if name in {*self._functions, *self._oracles} - parts]
        return [f"kept besides: {', '.join(others)}"] if others else []

    def _table(self):
        """Four texts a line, the head first."""
        found = [["part", "forward", "backward", "in the network"]]
        for row in self.rows():
            forward, backward = (*row.kept, "")[:2]
            used = (
                "yours"
                if row.yours
                else "ours in its place" + (", yours is slow" if "slow" in row.kept else "")
            )
            found.append([row.part, forward, backward, used])
        return found


def mine(where=None) -> Mine:
    """What is kept in the learner's folder (or in `where`), as layers and as a table: print it.

    An answer that was edited since it was kept is checked again first; one that is not right any more is not used.
    Raises FileNotFoundError or NotADirectoryError where `where` is no folder.
    """
    if where is None:
        return Mine(folder())
    path = Path(where).expanduser().absolute()
    if not path.is_dir():
        kind, what = (NotADirectoryError, "a file") if path.exists() else (FileNotFoundError, "not there")
        raise kind(f"check.mine: {shown(path)} is {what}: name the folder that your answers are kept in")
    return Mine(path)


def _both(layer: str) -> tuple[str, str]:
    return f"{FUNCTIONS[layer]}_forward", f"{FUNCTIONS[layer]}_backward"


def _function(answer):
    """The function of a kept file, run as a module of its own; errors show its lines."""
    names = {"__name__": f"mine.{answer.name}", "__file__": str(answer.path)}
    exec(compile(answer.path.read_text(encoding="utf-8-sig"), str(answer.path), "exec"), names)
    return names[answer.name]


def _stepping(step_of):
    class YourSGD(SGD):
        def __setattr__(self, name, value):
            if "_velocities" in vars(self) and name not in (*vars(self), *vars(SGD)):  # once it is made
                raise no_such_number(name)
            super().__setattr__(name, value)

        def step(self):
            moving = [pair for pair in zip(self.parameters, self.velocities, strict=True) if pair[0].lr_scale]
            if not moving:
                super().step()  # which says so
            for p, _ in moving:
                self._check_grad(p)
            for p, v in moving:
                lr, decay = float(self.lr) * float(p.lr_scale), float(self.weight_decay) if p.decay else 0.0
                grad = p.grad if p.proximal is None else p.grad + self._slope(p)
                found = step_of(p.value, v, grad, lr, float(self.momentum), decay)
                new_w, new_v = parts(f"step of {p}", found, "w v")
                new_w = taken(f"step of {p}", new_w, p.value, "w")
                new_v = taken(f"step of {p}", new_v, v, "v")
                p.value[...], v[...] = new_w, new_v  # in place: who holds these arrays sees the new numbers
                if p.proximal:  # a gate goes back into its range, as after our step
                    p.proximal(p.value)

    return YourSGD
