"""What layers, twins, SGD and training ask of an array module, call by call: few plain things, and CuPy has them all.

CuPy can be installed and imported without a GPU; where it is not, the tests that ask it skip.
"""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from array_calls import Header, described, recorded

import minialex as mx
from minialex.devices import simdevice

PACKAGE = Path(mx.__file__).parent
TWINS_ARE_HERE = find_spec("minialex.fast") is not None
with_twins = pytest.mark.skipif(
    not TWINS_ARE_HERE, reason="the folder fast/ is away, and what only its twins call"
)

# All that is called, by layers, losses, networks, SGD, training and evaluation, and by the twins for CUDA.
NAMES = {
    "function": """
        arange asarray ascontiguousarray broadcast_to concatenate empty empty_like exp full isfinite
        lib.stride_tricks.as_strided log matmul maximum moveaxis ones ones_like repeat sign sqrt stack take
        take_along_axis tanh where zeros zeros_like
    """,
    "method": "all argmax astype clip copy get max mean reshape sum swapaxes transpose",
    "operator": """
        __abs__ __add__ __and__ __eq__ __ge__ __getitem__ __gt__ __iadd__ __imul__ __isub__ __iter__ __len__ __matmul__
        __mul__ __neg__ __pow__ __radd__ __rmul__ __rsub__ __rtruediv__ __setitem__ __sub__ __truediv__
    """,
    "attribute": "T dtype flags nbytes ndim shape size strides",
    "constant": "",
}

# What the files ask of CuPy itself, or of an `xp` that is CuPy, beside arrays; `_` stands for an argument.
OF_CUPY = """
    RawKernel(_, _)
    __version__
    cuda.Device(_)
    cuda.Event()
    cuda.Event(disable_timing=_)
    cuda.Stream(non_blocking=_)
    cuda.alloc_pinned_memory(_)
    cuda.get_current_stream()
    cuda.get_elapsed_time(_, _)
    cuda.runtime.getDeviceCount()
    cuda.runtime.getDeviceProperties(_)
    get_default_memory_pool()
    is_available()
"""
# And of the objects that it gives. This list is kept by hand: in the files such a call does not say whose it is.
OF_ITS_OBJECTS = """
    RawKernel.__call__(_, _, _)
    cuda.Device.__enter__()
    cuda.Device.__exit__(_, _, _)
    cuda.Device.id
    cuda.Event.synchronize()
    cuda.MemoryPointer.copy_from_device_async(_, _, _)
    cuda.MemoryPool.free_all_blocks()
    cuda.MemoryPool.total_bytes()
    cuda.MemoryPool.used_bytes()
    cuda.Stream.record()
    cuda.Stream.record(_)
    cuda.Stream.synchronize()
    cuda.Stream.wait_event(_)
    ndarray.data
    ndarray.device
    ndarray.get()
    ndarray.set(_, stream=_)
"""


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def recorder():
    """All calls of all works, by the textbook's lines and by the twins."""
    import what_runs

    with recorded() as recorder:
        for fast in (False, True) if TWINS_ARE_HERE else (False,):
            with what_runs.in_the_manner_of_cuda(fast):
                what_runs.all_works(fast)
    return recorder


@pytest.fixture(scope="module")
def cupy_says():
    pytest.importorskip("cupy", reason="CuPy is not installed: nobody to ask (it needs no GPU for this)")
    import cupy_says

    return cupy_says


# ---- few plain calls ------------------------------------------------------------------------------------------------


def news(recorder, kind):
    """What to do about calls that are not in the list; "" if there are none."""
    listed = set(NAMES[kind].split())
    called = {call.name: str(call) for call in recorder.calls if call.kind == kind}
    return "\n".join(
        f"{text} is new: nothing has called this {kind} before. Can it be done with those there are? If not, see that "
        f"CuPy has it, with these arguments and dtypes (`pip install cupy-cuda12x`, then this file asks CuPy itself), "
        f'and add {name} to NAMES["{kind}"]'
        for name, text in called.items()
        if name not in listed
    )


@pytest.mark.parametrize("kind", NAMES)
def test_nothing_is_called_that_was_not_called_before(recorder, kind):
    if found := news(recorder, kind):
        pytest.fail(found)


@with_twins
@pytest.mark.parametrize("kind", NAMES)
def test_what_nobody_calls_any_more_leaves_the_list(recorder, kind):
    assert set(NAMES[kind].split()) <= recorder.names(kind)


def test_a_new_function_is_named_with_what_to_do_about_it():
    xp = simdevice.sim_numpy
    with recorded() as recorder:
        xp.median(xp.zeros((2, 3)), axis=1)
    assert news(recorder, "function").startswith(
        "function median(float64, axis=int) is new: nothing has called this function before. Can it be done with"
    )


# ---- the recorder --------------------------------------------------------------------------------------------------

WAYS = {
    "function exp(float32)": lambda xp, x: xp.exp(x),
    "function stack([float32, ...], axis=int)": lambda xp, x: xp.stack([x, x], axis=1),
    "function add(float32, float)": lambda xp, x: np.add(x, 1.0),
    "function add.reduce(float32)": lambda xp, x: np.add.reduce(x),
    "function multiply(np.float32, float32)": lambda xp, x: np.float32(2) * x,
    "function concatenate([float32])": lambda xp, x: np.concatenate([x]),
    "function lib.stride_tricks.as_strided(float32, (int), (int))": lambda xp, x: (
        xp.lib.stride_tricks.as_strided(x, (1,), (4,))
    ),
    "method sum(float32, axis=int, keepdims=bool)": lambda xp, x: x.sum(axis=0, keepdims=True),
    "method astype(float32, dtype float64)": lambda xp, x: x.astype(np.float64),
    "method item(float32, int)": lambda xp, x: x.item(0),
    "operator __rsub__(float32, int)": lambda xp, x: 1 - x,
    "operator __iadd__(float32, float32)": lambda xp, x: x.__iadd__(x),
    "operator __getitem__(float32, (slice, None))": lambda xp, x: x[:, None],
    "operator __getitem__(float32, Ellipsis)": lambda xp, x: x[...],
    "operator __float__(float32)": lambda xp, x: float(x[0]),
    "attribute T": lambda xp, x: x.T,
    "attribute real": lambda xp, x: x.real,
    "constant pi": lambda xp, x: xp.pi,
}


@pytest.mark.parametrize("written", WAYS)
def test_a_call_is_written_down_once_and_as_it_was_made(written):
    xp = simdevice.sim_numpy
    x = xp.asarray(np.ones(3, np.float32))
    with recorded() as recorder:
        WAYS[written](xp, x)
    calls = [str(call) for call in recorder.calls if call.name != "__getitem__" or "getitem" in written]
    assert calls == [written]


def test_afterwards_everything_is_as_it_was():
    owners = simdevice.SimArray, simdevice._SimNumpy, simdevice._SimNumpy.lib.stride_tricks
    before = [dict(vars(owner)) for owner in owners]
    with recorded():
        assert dict(vars(simdevice.SimArray)) != before[0]
    assert [dict(vars(owner)) for owner in owners] == before


def test_an_argument_is_described_by_what_cupy_s_answer_hangs_on():
    given = {
        "int": 1, "bool": True, "float": 0.5, "'K'": "K", "None": None, "np.float32": np.float32(2), "slice": slice(2),
        "dtype float32": np.dtype("float32"), "dtype int64": np.int64, "host float64": np.zeros(3),
        "[int, ...]": [2, 3], "[int]": [2], "(int, ...)": (2, 3, 4), "(int, slice)": (2, slice(3)),
        "uint8": Header((3,), np.dtype("uint8"), (1,)),
    }  # fmt: skip
    assert [described(one) for one in given.values()] == list(given)


# ---- held against CuPy ---------------------------------------------------------------------------------------------


def refusals(recorder, cupy_says):
    answers = {}
    for call, examples in recorder.calls.items():
        for example in examples.values():
            answer = cupy_says.refusal(call, example)
            if answer:
                answers.setdefault(f"{call}: {answer}", example)
    return list(answers)


def test_cupy_takes_every_call(recorder, cupy_says):
    if found := refusals(recorder, cupy_says):
        pytest.fail("CuPy would refuse\n" + "\n".join(found))


LACKING = {
    "of a reduction where": (
        lambda xp, x: x.sum(axis=0, where=x > 0),
        r"^method sum\(float32, axis=int, where=bool\): got an unexpected keyword argument 'where': CuPy's is sum\(",
    ),
    "of a ufunc where": (
        lambda xp, x: xp.add(x, x, out=x, where=x > 0),
        r"^function add\(.*, out=float32, where=bool\): a ufunc of CuPy takes out, dtype and casting, not where$",
    ),
    "an initial value": (
        lambda xp, x: xp.max(x, initial=0.0),
        r"^function max\(float32, initial=float\): got an unexpected keyword argument 'initial'",
    ),
    "an index of item": (
        lambda xp, x: x.item(0),
        r"^method item\(float32, int\): too many positional arguments",
    ),
    "a number among arrays": (
        lambda xp, x: xp.stack([x[0], 1.0]),
        r"^function stack\(\[float32, float\]\): TypeError: ",
    ),
    "a loop for objects": (
        lambda xp, x: x.astype(object) * 2.0,
        r"^operator __mul__\(object, float\): cupy.multiply has no loop for object, object, object$",
    ),
    "a product of bytes": (
        lambda xp, x: x.astype(np.uint8) @ x.astype(np.uint8),
        "cuBLAS does not multiply uint8$",
    ),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_cupy_lacks_is_found(cupy_says, what):
    work, message = LACKING[what]
    xp = simdevice.sim_numpy
    x = xp.asarray(np.ones(3, np.float32))
    with recorded() as recorder:
        work(xp, x)
    said = refusals(recorder, cupy_says)
    assert any(re.search(message, one) for one in said), said


# ---- what is asked of CuPy beside arrays ----------------------------------------------------------------------------


def asked_of_cupy():
    """`cuda.Event(disable_timing=_)`: what comes after `cupy.` or after `.xp.` in the package, array functions apart.

    A local name for a part of CuPy, `runtime = cupy.cuda.runtime`, is followed within its file.
    """
    texts = [path.read_text(encoding="utf8") for path in PACKAGE.rglob("*.py")]
    for text in texts:
        if "cupy" not in text and ".xp." not in text:
            continue
        nodes = list(ast.walk(ast.parse(text)))
        known = {"cupy": ""}
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
                name = name_of(node.value, known)
                known |= {target.id: name for target in node.targets if name and isinstance(target, ast.Name)}
        calls = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
        longer = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        for node in nodes:
            name = (
                name_of(node, known) if isinstance(node, ast.Attribute) and id(node) not in longer else None
            )
            if name is None or name in {
                "cuda",
                "cuda.runtime",
                "ndarray",
                *NAMES["function"].split(),
            }:
                continue
            if id(node) in calls:
                given = calls[id(node)]
                words = ["_" for _ in given.args] + [f"{keyword.arg}=_" for keyword in given.keywords]
                name += f"({', '.join(words)})"
            yield name


def name_of(node, known):
    """`device.xp.cuda.Event` -> "cuda.Event"; None for what is no part of CuPy."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id in known:
        return ".".join(part for part in (known[node.id], *parts) if part)
    after = parts[parts.index("xp") + 1 :] if "xp" in parts else ()
    return None if not after or hasattr(np, after[0]) else ".".join(after)


@with_twins
def test_what_is_asked_of_cupy_itself_stands_in_the_list():
    assert sorted(set(asked_of_cupy())) == lines(OF_CUPY)


@pytest.mark.parametrize("asked", [*lines(OF_CUPY), *lines(OF_ITS_OBJECTS)])
def test_cupy_has_what_is_asked_of_it(cupy_says, asked):
    import cupy

    name, given = re.fullmatch(r"([\w.]+)(?:\((.*)\))?", asked).groups()
    owner, found = cupy, cupy
    for part in name.split("."):
        owner, found = found, getattr(found, part)
    if given is not None:
        words = given.split(", ") if given else []
        unnamed = [word for word in words if word == "_"] + ["self"] * isinstance(owner, type)
        cupy_says.signature_of(found).bind(*unnamed, **{word[:-2]: None for word in words if word != "_"})
