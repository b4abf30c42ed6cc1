"""What gradcheck looks for beside the gradients of one pass: other passes, in which a layer that is right stays right.

Each look is a function that returns what is wrong, in sentences. All look at the copy whose gradients were measured, so
that what it kept from earlier passes has its chance to show.
"""

import copy

import numpy as np

from minialex.check.holdings import first_place, restore, tree
from minialex.check.layouts import LAYOUTS, laid_out
from minialex.check.slopes import disagree
from minialex.devices.device import is_array, to_numpy
from minialex.errors import DtypeMismatch
from minialex.weights import export_grouped
from minialex.words import counted

SAME = 1e-9  # two passes in float64, as a share of an array's largest number: another order of adding up
SINGLE = 1e-4  # one in float32, against one in float64
CANCELLED = 1e7  # times as much of `size` may be rounding there as in float64: sums that cancel, 1 - y near 1
LARGER = 100.0  # times as large, another batch's numbers
SLICES = 12  # of x, each measured on its own
MORE = 4  # pictures in the other batch, beside as many as x has


def in_passes(original, function, arrays, gradients, size) -> list[str]:
    """All looks at a layer whose gradients were right in one pass; `function` and `size` are gradcheck's."""
    right = {"y": to_numpy(function.forward(arrays["x"])).copy(), **gradients}
    with np.errstate(all="ignore"):
        faults = again(function, arrays, right, size, "a second pass on the same batch")
        if not faults:
            faults = with_another_batch(original, function, arrays, right, size)
        if not faults:
            for look in LOOKS:
                faults += look(function, arrays, right, size)
    return faults


# -- the same numbers once more ----------------------------------------------------------------------------


def again(function, arrays, right, size, what) -> list[str]:
    """Does the same batch give the same, after what came in between, and leave the parameters alone?"""
    function.load(arrays)
    try:
        found = function.backward(arrays["x"])
    except Exception as error:
        return [f"{what} raises {_named(error)}"]
    found = {"y": function.y, **found}
    differs = _difference(found, right, size)
    if not differs:
        now = {"x": arrays["x"], **export_grouped(function.layer)}
        for name, value in arrays.items():
            if not np.array_equal(now[name], value, equal_nan=True):
                at = first_place(now[name] != value)
                return [
                    f"a pass changes {name}{at}: {value[tuple(at)]:.6g} before, {now[name][tuple(at)]:.6g} after"
                ]
        return []
    name, at, yours, before = differs
    text = f"{what}: {_array(name)}{at} is {yours:.6g}, where the first pass gave {before:.6g}"
    if name == "y":
        return [f"{text}; nothing may hang on chance, or on earlier passes, but by what counters() holds"]
    if name != "x":
        text += (
            "; backward sets parameter.grad, it does not add to it, and keeps nothing from the pass before"
        )
    return [text]


def unsteady(function, x, first) -> list[str]:
    """Does forward give something else than the first time?"""
    differs = _difference({"y": to_numpy(function.forward(x))}, {"y": first}, 0.0)
    if not differs:
        return []
    _, at, yours, before = differs
    return [
        f"forward on the same numbers gave {before:.6g} for y{at}, later {yours:.6g}; nothing may hang on chance, or "
        "on earlier passes, but by what counters() holds"
    ]


def without_input_grad(function, arrays, right, size) -> list[str]:
    """`input_grad=False` leaves out the gradient of x, and changes no other of what is to learn."""
    try:
        found = function.backward(arrays["x"], input_grad=False)
    except Exception as error:
        return [f"backward(grad_y, input_grad=False) raises {_named(error)}"]
    idle = {name for name, p in function.layer.named_parameters() if not p.lr_scale}
    found = {name: gradient for name, gradient in found.items() if name not in idle}
    differs = _difference(found, {name: right[name] for name in found}, size)
    if not differs:
        return []
    name, at, yours, expected = differs
    return [f"with input_grad=False the gradient of {name}{at} is {yours:.6g}, and {expected:.6g} without"]


def in_proportion(function, arrays, right, size) -> list[str]:
    """Backward is linear: a thousand times the upstream gradient makes a thousand times the gradients."""
    upstream = function.upstream
    try:
        for factor in (1000.0, 0.001):
            function.upstream = factor * upstream
            found = function.backward(arrays["x"])
            differs = _difference(found, {name: factor * right[name] for name in found}, factor * size)
            if differs:
                name, at, yours, expected = differs
                return [
                    f"with {factor:g} times the upstream gradient the gradient of {name}{at} is {yours:.6g}, not "
                    f"{expected:.6g}, {factor:g} times what it was"
                ]
    finally:
        function.upstream = upstream
    return []


def in_all_layouts(function, arrays, right, size) -> list[str]:
    """The same numbers in other places of the memory: x and grad_y in each of LAYOUTS."""
    x, model = arrays["x"], function.model
    if not x.ndim or function.layer.device.xp is not np:
        return []
    try:
        for layout in LAYOUTS:
            function.model = laid_out(x, layout)
            try:
                found = function.backward(x)
            except Exception as error:
                return [f'x and grad_y in the memory layout "{layout}": raises {_named(error)}']
            differs = _difference({"y": function.y, **found}, right, size)
            if differs and (differs[0] == "y" or _is_wrong(function, arrays, found, right, differs[0], size)):
                name, at, yours, expected = differs
                return [
                    f'x and grad_y in the memory layout "{layout}": {_array(name)}{at} is {yours:.6g}, not '
                    f"{expected:.6g}; the layer reads the memory, where it should read the array"
                ]
    finally:
        function.model = model
    return []


def in_float32(function, arrays, right, size) -> list[str]:
    """float32 in, float32 out, and nearly the same numbers."""
    single = {name: array.astype(np.float32) for name, array in arrays.items()}
    rounded = {name: array.astype(np.float64) for name, array in single.items()}
    layer = function.layer
    function.load(rounded)
    expected = function.backward(rounded["x"])
    expected["y"] = function.y
    labels = function.labels
    try:
        layer.astype("float32")
        function.labels = tuple(_in_single(one) for one in labels)
        found = function.backward(single["x"])
        found["y"] = function.y
    except DtypeMismatch as error:
        return [f"in float32: {error}"]
    except Exception as error:
        return [f"in float32: raises {_named(error)}"]
    finally:
        layer.astype("float64")
        function.labels = labels
        function.load(arrays)
    for name, array in found.items():
        if array.dtype != np.float32:
            return [f"in float32: {_array(name)} is {array.dtype}: float32 in, float32 out"]
    finite = all(np.isfinite(array).all() for array in (*found.values(), *expected.values()))
    differs = finite and _difference(found, expected, CANCELLED * max(size, 1.0), SINGLE)
    if not differs or (differs[0] != "y" and _kinked(function, rounded, found, expected, differs[0], size)):
        return []  # float32 holds no such numbers; or two that were apart are equal in it, and another one wins
    name, at, yours, wanted = differs
    return [f"in float32: {_array(name)}{at} is {yours:.6g}, in float64 {wanted:.6g}"]


# -- other batches, the other mode -------------------------------------------------------------------------


def with_another_batch(original, function, arrays, right, size) -> list[str]:
    """More pictures, or as many, with numbers from x's range; then x again. And one picture alone, then x again."""
    x = arrays["x"]
    if not x.ndim:
        return []
    rng, N = np.random.default_rng(0), len(x)
    for counts in ((N + MORE, N), (1,) if N > 1 else ()):
        for count in counts:
            faults = _with_pictures(original, function, arrays, right["y"].shape, count, rng)
            if faults is not None:
                break
        else:
            continue  # it takes no such batch
        faults = faults or again(function, arrays, right, size, "a second pass, after another batch")
        if faults:
            return faults
    return []


def _with_pictures(original, function, arrays, y_shape, count, rng) -> list[str] | None:
    """What is wrong with a batch of so many pictures; None where the layer takes none of them, or gives no numbers."""
    x = arrays["x"]
    N = len(x)
    other, what = function.on(function.layer), f"with another batch, of {counted(count, 'picture')}, "
    picked = rng.integers(0, N, count)
    if function.labels and (not np.ndim(function.labels[0]) or len(function.labels[0]) != N):
        picked = np.arange(N) if count == N else None
    if picked is None:
        return None
    other.labels = tuple(_picked(labels, picked, function.layer) for labels in function.labels)
    moved = {**arrays, "x": between(x, (count, *x.shape[1:]), rng)}
    try:
        gradients = other.backward(moved["x"], rng)
    except Exception as error:
        fresh = other.on(copy.deepcopy(original).astype("float64"))
        if isinstance(error, ValueError) and _refuses(fresh, moved["x"]):
            return None
        return [f"{what}the layer raises {_named(error)}"]
    if y_shape[:1] == (N,) and other.y.shape not in ((count, *y_shape[1:]), y_shape):
        return [f"{what}y has shape {other.y.shape}, where {(count, *y_shape[1:])} is right"]
    # What normalises over the batch may divide 0 by 0 where there is one picture.
    finite = np.isfinite(other.y).all() and (
        count > 1 or all(np.isfinite(g).all() for g in gradients.values())
    )
    return _measured(other, moved, gradients, what) if finite else None


def in_the_other_mode(function, arrays, right, size) -> list[str]:
    """Evaluation, where training was measured, or the other way round."""
    layer = function.layer
    modes = [(inside, inside.training) for inside in tree(layer)]
    mode = "evaluation" if layer.training else "training"
    try:
        layer.train(not layer.training)
        y = function.forward(arrays["x"])
        if y.shape != right["y"].shape:  # more exits, say: it has an upstream gradient of its own
            function = function.on(layer)
            function.upstream = function.draw(y.shape, np.random.default_rng(0))
            right = {**right, "y": to_numpy(y)}
        gradients = function.backward(arrays["x"])
        if not _difference({"y": function.y, **gradients}, right, size):
            return []  # what was measured in the one mode holds in the other
        return _measured(function, arrays, gradients, f"in {mode} mode ")
    except NotImplementedError:
        return []
    except Exception as error:
        return [f"in {mode} mode the layer raises {_named(error)}"]
    finally:
        restore(modes)
        function.load(arrays)


def with_large_numbers(function, arrays, right, size) -> list[str]:
    """Another batch, of numbers a hundred times as large; and do the arrays of the batch before stay as they are?"""
    moved = {**arrays, "x": LARGER * between(arrays["x"], arrays["x"].shape, np.random.default_rng(0))}
    function.backward(arrays["x"])
    returned = function.returned
    kept = {name: to_numpy(array).copy() for name, array in returned.items()}
    try:
        gradients = function.backward(moved["x"])
    except Exception:
        return []  # it takes no such numbers
    for name, array in returned.items():
        if not np.array_equal(to_numpy(array), kept[name], equal_nan=True):
            return [
                f"a pass overwrites {_array(name)} that the one before returned; it must make a new array each time"
            ]
    if not all(np.isfinite(array).all() for array in (function.y, *gradients.values())):
        return []
    return _measured(function, moved, gradients, f"with numbers {LARGER:g} times as large ")


def wider(function, arrays, right, size) -> list[str]:
    """Twice the channels, and larger pictures, for a layer that has no parameters to fix them."""
    x = arrays["x"]
    if len(arrays) > 1 or x.ndim < 2:
        return []
    rng, (N, C, *sides) = np.random.default_rng(0), x.shape
    channels, larger = C * max(2, -(-6 // C)), [side + 4 - number for number, side in enumerate(sides)]
    for shape in {(N, channels, *larger): 0, (N, channels, *sides): 0, (N, C, *larger): 0}:
        moved = {"x": between(x, shape, rng)}
        other = function.on(function.layer)
        try:
            gradients = other.backward(moved["x"], rng)
        except ValueError:
            continue  # it takes no such pictures
        except Exception as error:
            return [f"with an x of shape {shape} the layer raises {_named(error)}"]
        if np.isfinite(other.y).all():
            return _measured(other, moved, gradients, f"with an x of shape {shape} ", axis=1)
    return []


def between(x, shape, rng):
    """Random numbers from x's range, each between two of x's: a layer that takes x takes these as well."""
    share = rng.uniform(0, 1, shape)
    return share * rng.choice(x.ravel(), shape) + (1 - share) * rng.choice(x.ravel(), shape)


def _picked(labels, picked, layer):
    """Some of the labels, where they were before: on the host or on the layer's device."""
    chosen = (np.asarray(labels) if isinstance(labels, (list, tuple)) else to_numpy(labels))[picked]
    return chosen if isinstance(labels, (np.ndarray, list, tuple)) else layer.device.asarray(chosen)


def _in_single(labels):
    """Labels that are numbers with fractions (a squared error's) in float32, as x is then."""
    return labels.astype("float32") if is_array(labels) and labels.dtype == np.float64 else labels


def _refuses(function, x):
    """Does forward of a layer that has seen no other batch raise as well? What it takes, backward must take."""
    try:
        function.forward(x)
    except Exception:
        return True
    return False


def _measured(function, arrays, gradients, what, axis=0) -> list[str]:
    """Measure the slopes of what backward said: of x in slices along an axis, of each parameter as a whole."""
    rng = np.random.default_rng(1)
    for name, array in arrays.items():
        long = array.shape[axis] if name == "x" and array.ndim > axis else 1
        for places in np.array_split(np.arange(long), min(long, SLICES)):
            direction = rng.uniform(0.5, 1.5, array.shape) * rng.choice([-1.0, 1.0], array.shape)
            if long > 1:
                inside = np.isin(np.arange(long), places)
                direction *= inside.reshape(-1, *[1] * (array.ndim - axis - 1))
            slopes = disagree(function, arrays, name, direction, gradients[name])
            if slopes:
                first, last = int(places[0]), int(places[-1])
                place = f"{first}" if first == last else f"{first}:{last + 1}"
                where = f"[{', '.join([':'] * axis + [place])}]" if name == "x" and array.ndim > axis else ""
                return [
                    f"{what}the gradient of {name}{where} is wrong: along a random direction backward says "
                    f"{slopes[0]:.6g}, measured {slopes[1]:.6g}"
                ]
    function.load(arrays)
    return []


# -- comparing ---------------------------------------------------------------------------------------------


def _difference(found, expected, size, share=SAME):
    """The first array that differs: its name, the place of the worst number, and both numbers there; else None."""
    for name, right in expected.items():
        yours = found[name]
        if yours.shape != right.shape:
            raise ValueError(f"{name} has shape {yours.shape}, where {right.shape} is right")
        finite = np.abs(right[np.isfinite(right)]).max(initial=0.0)
        with np.errstate(all="ignore"):
            away = np.abs(np.asarray(yours, np.float64) - right)
        away = np.where((yours == right) | (np.isnan(yours) & np.isnan(right)), 0.0, away)
        away = np.where(np.isnan(away), np.inf, away)
        if (away > share * finite + 1e-12 * size).any():
            at = tuple(int(i) for i in np.unravel_index(away.argmax(), away.shape))
            return name, list(at) or "", float(yours[at]), float(right[at])
    return None


def _is_wrong(function, arrays, found, right, name, size):
    """Is a gradient that differs wrong? At a kink it may."""
    away = found[name] - right[name]
    return disagree(
        function, arrays, name, np.sign(away) * (np.abs(away) > SAME * np.abs(away).max()), found[name]
    )


def _kinked(function, arrays, found, expected, name, size):
    """Is the function kinked where two gradients differ? Then neither need be wrong."""
    direction = np.sign(found[name].astype(np.float64) - expected[name])
    return not disagree(function, arrays, name, direction, found[name].astype(np.float64))


def _array(name):
    return "y" if name == "y" else f"the gradient of {name}"


def _named(error):
    return f"{type(error).__name__}: {error}"


LOOKS = [
    without_input_grad, in_proportion, in_all_layouts, in_the_other_mode, with_large_numbers, wider, in_float32,
]  # fmt: skip
