"""Turns watched calls into the entries of a trace: one for each array that is new, with its name and its lines."""

import numpy as np

from minialex.layers import AvgPool2D, Conv2D, Layer, Linear, MaxPool2D, Parameter, Subsampling, TableConv2D
from minialex.layers.parameter import Buffer
from minialex.layers.sequential import all_layers
from minialex.layers.settings import is_setting
from minialex.tracing.entries import Entry
from minialex.tracing.source import Line, text_of
from minialex.tracing.watch import SEQUENTIAL, TOWERS, Call, Slot, bodies_of, host, own_arrays
from minialex.training import optim

SETTINGS = "kernel_size stride padding groups table size alpha beta k p scaling scale slope j".split()
# Layers that have a view of their own on the page and in plots; others are shown array by array.
VIEWED = (TableConv2D, Conv2D, MaxPool2D, AvgPool2D, Subsampling, Linear)
GIVEN = {
    "x": "x is what comes in",
    "logits": "logits are the network's answer, a row for each picture",
    "labels": "labels are the right classes",
    "grad_y": "grad_y = dloss / dy, from the layer after it",
}


class Book:
    """The entries, as they are written down call by call.

    shapes: those of a pass with one picture more; None: unknown. pictures: how many there are in the first pass.
    """

    def __init__(self, paths, shapes, pictures):
        self.paths, self.shapes, self.pictures = paths, shapes, pictures
        self.entries: dict[str, Entry] = {}
        self.layers: dict[str, dict] = {}
        self.known: dict[str | None, list[Slot]] = {}  # of each layer, what it has made so far
        self.counts: dict[tuple, int] = {}

    def whole(self, name, value, formula):
        """What the network as a whole is given, or gives back."""
        several = isinstance(value, tuple)
        for t, array in enumerate(value if several else [value]):
            full = f"[{t}].{name}" if several else name
            kind = "backward" if name.startswith("grad") else "forward"
            axis = 0 if array.ndim else None
            self.put(Entry(full, array, kind, "", formula, "", batch_axis=axis), "the network")

    def put(self, entry, layer):
        if entry.name in self.entries:
            raise ValueError(
                f"trace: {layer} makes a second {entry.name!r}; give it or its layer another name"
            )
        self.entries[entry.name] = entry

    # ---- one call ----

    def add(self, call: Call):
        if call.function in SEQUENTIAL | TOWERS:
            inside = call.calls
            if call.function in TOWERS:  # which run side by side
                inside = sorted(inside, key=lambda one: one.path)
            for one in inside:
                self.add(one)
            return
        layer, path = call.layer, call.path
        key = path, call.direction
        number = self.counts[key] = self.counts.get(key, -1) + 1
        self.layers.setdefault(path or "", about(layer))
        known = self.known.setdefault(path, [])
        explain(call)
        given, made = [*call.given, *call.parameters], [*call.grads, *call.results]
        inner = self.inner_arrays(call)
        given, made = ([*given, *inner], made) if call.direction == "forward" else (given, [*inner, *made])
        if number:  # called again in the same pass
            given, made = (self.fresh(slots, known) for slots in (given, made))
        new = []
        for slot in call.locals:
            other = twin_of(slot, [*made, *given, *known, *new])
            if other is None:
                new.append(renamed(slot, [*known, *given, *made, *new]))
            elif any(other is one for one in ([*made, *new] if slot.maker is not call.function else made)):
                other.lines = in_order([*slot.lines, *other.lines])
        new.sort(key=lambda slot: (slot.caller or first_line(slot), not slot.caller, first_line(slot)))
        shapes = (self.shapes or {}).get((*key, number), {})
        for slot in given:
            self.write(call, slot, shapes)
        for one in call.calls:
            self.add(one)
        for slot in [*new, *made]:
            self.write(call, slot, shapes)
        known += [*given, *new, *made]

    def fresh(self, slots, known):
        return [renamed(slot, known) for slot in slots if twin_of(slot, known) is None]

    def inner_arrays(self, call) -> list[Slot]:
        """Parameters, or their gradients, of layers inside that were not called: this one uses them itself."""
        called = {id(one.layer) for one in call.all()}
        found = []
        for layer in all_layers(call.layer)[1:]:
            if id(layer) in called or id(layer) not in self.paths:
                continue
            inside = self.paths[id(layer)][len(call.path or "") :].lstrip(".")
            for name, holder in own_arrays(layer).items():
                grad = getattr(holder, "grad", None)
                if call.direction == "forward":
                    slot = Slot(f"{inside}.{name}", holder.value, host(holder.value), "parameter")
                    explain_parameter(slot, layer, name)
                elif grad is not None:
                    slot = Slot(f"{inside}.grad_{name}", grad, host(grad), "backward")
                    slot.lines = lines_of_grad(call, name)
                else:
                    continue
                found.append(slot)
        return found

    def write(self, call, slot, shapes):
        """Put down the entry of a slot."""
        if slot.part is not None:
            name = f"{call.path or ''}[{slot.part}].{slot.shown}"
        else:
            name = slot.shown if call.path is None else f"{call.path}.{slot.shown}"
        found = slot.lines or slot.returns
        text = text_of(call.function)
        stands = found[0] if found else slot.head or (text.head if text else None)
        axis = None if slot.kind == "parameter" else self.batch_axis(slot, shapes)
        self.put(
            entry_of(name, slot.kept, slot.kind, call.path or "", found, stands, axis, slot.formula),
            call.layer,
        )

    def batch_axis(self, slot, shapes):
        """Which axis has grown with the batch."""
        shape, more = slot.kept.shape, shapes.get(slot.key)
        if more is not None and len(more) == len(shape):
            changed = [axis for axis in range(len(shape)) if more[axis] != shape[axis]]
            grown = len(changed) == 1 and more[changed[0]] == shape[changed[0]] + 1
            return changed[0] if grown else None
        of_parameter = (
            slot.kind == "backward" and slot.maker is None and slot.name not in ("grad_y", "grad_x")
        )
        return 0 if shape and shape[0] == self.pictures and not of_parameter else None

    # ---- the optimizer ----

    def update(self, optimizer, model):
        """The velocities and the weights after a step."""
        kind = type(optimizer)
        title = kind.__name__.lower()
        self.layers[title] = {"type": kind.__name__, "kind": ""}
        text = text_of(optim.update) if kind.step is optim.SGD.step else None
        names = {}
        for layer in all_layers(model):
            path = self.paths[id(layer)]
            for name, holder in own_arrays(layer).items():
                names.setdefault(id(holder), name if path is None else f"{path}.{name}")
        velocities = getattr(optimizer, "velocities", [None] * len(optimizer.parameters))
        for p, v in zip(optimizer.parameters, velocities, strict=True):
            for letter, array in (("v", v), ("w", p.value)):
                if array is not None:
                    name = f"{title}.{names.get(id(p), p.name)}.{letter}"
                    lines = text.writes[letter] if text else []
                    stands, formula = lines[0] if lines else None, ""
                    if p.proximal:  # see SGD.step
                        texts = [line.text.replace("lr * grad", "lr * (grad + penalty)") for line in lines]
                        formula = "; ".join(texts + [f"{p.proximal.__name__}(w)"] * (letter == "w"))
                    entry = entry_of(name, host(array), "update", title, lines, stands, None, formula)
                    self.put(entry, kind.__name__)


def entry_of(name, array, kind, layer, lines, stands, axis, formula="") -> Entry:
    formula = formula or "; ".join(line.text for line in lines)
    rows = tuple((line.number, line.text) for line in lines)
    return Entry(name, array, kind, layer, formula, stands.place if stands else "", rows, axis)


# ---- what is the same ----


def same_numbers(one: np.ndarray, other: np.ndarray) -> bool:
    """In the same order, whatever the shape; another type counts if its numbers become the same."""
    with np.errstate(all="ignore"):
        return one.size == other.size and np.array_equal(
            one.ravel().astype(other.dtype), other.ravel(), equal_nan=other.dtype.kind in "fc"
        )


def twin_of(slot: Slot, others: list[Slot]) -> Slot | None:
    """Who of the others is the same: the same array under another name, or the same name with the same numbers.

    What lies in a list keeps its place there, as long as it is not what comes out: it shows what a join gets.
    """
    for other in others:
        again = other.name == slot.name and other.part == slot.part
        result = other.maker is None and other.name in ("y", "grad_x")
        shown = slot.of == slot.name or result
        if (again or (other.value is slot.value and shown)) and same_numbers(slot.kept, other.kept):
            return other
    return None


def renamed(slot: Slot, others: list[Slot]) -> Slot:
    """The slot, called "scale_2" where there is a "scale" with other numbers."""
    taken, number = {(other.shown, other.part) for other in others}, 1
    while (slot.shown, slot.part) in taken:
        number += 1
        slot.shown = f"{slot.name}_{number}"
    return slot


# ---- the lines ----


def explain(call: Call):
    """Give each slot of a call its lines, or words where it has none."""
    text = text_of(call.function)
    for slot in call.given:
        slot.formula = GIVEN[slot.name]
    for slot in call.parameters:
        explain_parameter(slot, call.layer, slot.name)
        if slot.kind == "forward":
            slot.formula, slot.lines = "", text.moves.get(slot.name, []) if text else []
    for slot in call.locals:
        found = text_of(slot.maker)
        slot.lines = list(found.writes.get(slot.of, [])) if found else []
        if slot.given and not slot.lines:
            slot.formula = f"{slot.name} is what comes in"
    # An argument of a function that forward calls is forward's own array, if it is not written there.
    call.locals = [s for s in call.locals if s.maker is call.function or s.lines or not s.given]
    call.locals.sort(
        key=lambda slot: slot.maker is not call.function
    )  # forward's own names count before theirs
    for slot in call.grads:
        slot.lines = lines_of_grad(call, slot.name.removeprefix("grad_"))
    same = {
        slot.name
        for slot in call.locals
        for result in call.results
        if slot.maker is call.function and twin_of(slot, [result]) is result
    }
    returns = text.returns if text else []
    returns = [one for one in returns if one[0].number == call.returned] or returns
    for result in call.results:
        result.returns = [line for line, names in returns]
        result.lines = [line for line, names in returns if not (names and same.issuperset(names))]


def explain_parameter(slot, layer, name):
    holder = vars(layer)[name]
    words = (
        "is learned"
        if isinstance(holder, Parameter)
        else "is kept"
        if isinstance(holder, Buffer)
        else "are fixed"
    )
    slot.formula = f"{name} {words}"
    for cls in type(layer).__mro__:
        text = text_of(vars(cls)["__init__"]) if "__init__" in vars(cls) and cls is not object else None
        if text:
            slot.head = slot.head or text.head
            if text.attributes.get(name):
                slot.lines = list(text.attributes[name])
                return


def lines_of_grad(call: Call, name: str) -> list[Line]:
    """The lines that set `self.<name>.grad`, in backward, in its helpers, or in the functions that it is made of."""
    texts, functions = [], [*bodies_of(call.layer, call.direction, call.function), *call.layer.traced]
    while functions:
        text = text_of(functions.pop(0))
        if text and text not in texts:
            texts.append(text)
            helpers = [getattr(type(call.layer), helper, None) for helper in text.helpers]
            functions += [helper for helper in helpers if callable(helper)]
    for wanted in ([name], None):  # None: of a variable, as in `for p, grad in ...: p.grad = grad`
        for text in texts:
            found = [
                line for key, lines in text.grads.items() if wanted is None or key in wanted for line in lines
            ]
            if found:
                return in_order(found)
    return []


def in_order(lines: list[Line]) -> list[Line]:
    """Each once, from top to bottom; those of several files as they come."""
    lines = list(dict.fromkeys(lines))
    return sorted(lines, key=lambda line: line.number) if len({line.file for line in lines}) == 1 else lines


def first_line(slot: Slot) -> int:
    return slot.lines[0].number if slot.lines else 0


# ---- the layers ----


def about(layer: Layer) -> dict:
    """What a layer is, and how it is set. kind: the class of VIEWED whose lines it runs; "" for all others."""
    kind = type(layer)
    same = [c for c in VIEWED if kind.forward is c.forward and kind.backward is c.backward]
    settings = {name: getattr(layer, name) for name in SETTINGS if hasattr(layer, name)}
    settings = {n: value for n, value in settings.items() if is_setting(value) or isinstance(value, list)}
    if same == [Subsampling]:
        settings |= {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    return {"type": kind.__name__, "kind": same[0].__name__ if same else "", **settings}
