"""What CuPy says to a call that was written down on `sim`: None, or why it would refuse it.

No GPU is needed. Three questions: does it have the name, and do the arguments fit its signature; has a ufunc a loop for
these dtypes; and, since CuPy looks at its arguments before it asks the driver for anything, does the call itself come
so far? Its arrays are headers then, over memory of nobody; where there is a GPU they are real, and the call must end
well.
"""

import ctypes
import inspect
import operator
import re
from contextlib import nullcontext

import cupy
import numpy as np
from array_calls import Call, Example, Header

UFUNC_OF = {
    "truediv": "true_divide", "sub": "subtract", "mul": "multiply", "pow": "power", "neg": "negative",
    "abs": "absolute", "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "floordiv": "floor_divide",
    "mod": "remainder",
}  # fmt: skip
BLAS = "efdFD"  # what cuBLAS multiplies


def refusal(call: Call, example: Example) -> str | None:
    return unknown(call) or misfit(call, example) or without_loop(call, example) or stopped(call, example)


# ---- the name and the signature -------------------------------------------------------------------------------------


def owner_of(call):
    return cupy if call.kind in ("function", "constant") else cupy.ndarray


def unknown(call):
    found = owner_of(call)
    for part in call.name.split("."):
        if not hasattr(found, part):
            return f"CuPy {cupy.__version__} has no {part!r}"
        found = getattr(found, part)
    return None


def misfit(call, example):
    if call.kind not in ("function", "method"):
        return None
    function = operator.attrgetter(call.name)(owner_of(call))
    if isinstance(function, cupy.ufunc):
        many, strange = len(example.args) > function.nargs, set(example.kwargs) - {"out", "dtype", "casting"}
        return f"a ufunc of CuPy takes out, dtype and casting, not {', '.join(strange)}" if strange else (
            f"it takes {function.nargs} arrays" if many else None
        )  # fmt: skip
    try:
        signature_of(function).bind(*example.args, **example.kwargs)
    except TypeError as error:
        return f"{error}: CuPy's is {call.name}{signature_of(function)}"
    return None


def signature_of(function) -> inspect.Signature:
    """Python's, or for what Cython has compiled the one that stands in the first line of its docstring.

    `_ndarray_base.swapaxes(self, Py_ssize_t axis1, Py_ssize_t axis2) -> _ndarray_base`
    """
    try:
        return inspect.signature(function)
    except ValueError:
        line = (function.__doc__ or "").splitlines()[0]
        arguments = re.fullmatch(r"[\w.]+\((.*)\)( -> .*)?", line)[1]
        arguments = re.sub(r"\b[\w.]+ (\w+)", r"\1", arguments)  # C's types
        made = {}
        exec(f"def function({arguments}): pass", made)
        return inspect.signature(made["function"])


# ---- the loops of ufuncs --------------------------------------------------------------------------------------------


def ufunc_name(call):
    """`__iadd__` and `__radd__` are add."""
    if call.kind != "operator":
        return call.name if call.kind == "function" else None
    name = call.name.strip("_")
    for stem in (name, name[1:]):
        if hasattr(operator, f"__{stem}__") and stem not in ("getitem", "setitem"):
            return UFUNC_OF.get(stem, stem)
    return None


def without_loop(call, example):
    """NumPy says in which dtypes it would compute; CuPy must have a loop that gives the same, and loses nothing."""
    name = ufunc_name(call)
    ours, theirs = getattr(np, name or "", None), getattr(cupy, name or "", None)
    if not isinstance(ours, np.ufunc):
        return None
    dtypes = [dtype_of(argument) for argument in example.args[: ours.nin]]
    dtypes = ours.resolve_dtypes((*dtypes, *[None] * ours.nout), casting="unsafe")
    if name == "matmul":
        return (
            None if all(dtype.char in BLAS for dtype in dtypes) else f"cuBLAS does not multiply {dtypes[0]}"
        )
    if not isinstance(theirs, cupy.ufunc):
        return f"cupy.{name} is no ufunc"
    loops = [[np.dtype(char) for char in loop.replace("->", "")] for loop in theirs.types]
    fits = any(
        loop[ours.nin :] == list(dtypes[ours.nin :]) and all(map(np.can_cast, dtypes, loop)) for loop in loops
    )
    return None if fits else f"cupy.{name} has no loop for {', '.join(map(str, dtypes))}"


def dtype_of(argument):
    """Python's numbers stay Python's: they do not widen what they meet."""
    if isinstance(argument, bool):
        return np.dtype(bool)
    return type(argument) if isinstance(argument, (int, float)) else argument.dtype


# ---- the call itself ------------------------------------------------------------------------------------------------

_memory = ctypes.create_string_buffer(64)
GPU = cupy.is_available()


def nobodys(size=0):
    """A pointer for arrays that nobody reads."""
    memory = cupy.cuda.UnownedMemory(ctypes.addressof(_memory), max(size, 1), _memory, 0)
    return cupy.cuda.MemoryPointer(memory, 0)


def made(value):
    """An array for each Header."""
    if isinstance(value, Header):
        if value.on_host:
            return np.zeros(value.shape, value.dtype)
        if GPU:
            return cupy.zeros(value.shape, value.dtype)
        return cupy.ndarray(value.shape, value.dtype, memptr=nobodys(), strides=value.strides)
    if isinstance(value, (list, tuple)):
        return type(value)(map(made, value))
    return value


def stopped(call, example):
    """What CuPy says before it comes to the driver, or to one of CUDA's libraries."""
    args, kwargs = made(example.args), {name: made(value) for name, value in example.kwargs.items()}
    with nullcontext() if GPU else cupy.cuda.using_allocator(nobodys):
        try:
            run(call, args, kwargs)
        except Exception as error:
            if GPU or not lacks_cuda(error):
                return f"{type(error).__name__}: {error}"
    return None


def lacks_cuda(error):
    of_cuda = type(error).__module__.startswith("cupy_backends.cuda")
    return of_cuda or (isinstance(error, ImportError) and "libcu" in str(error))


def run(call, args, kwargs):
    if call.kind == "function":
        return operator.attrgetter(call.name)(cupy)(*args, **kwargs)
    if call.kind == "constant":
        return getattr(cupy, call.name)
    if call.kind != "operator":
        return getattr(args[0], call.name)(*args[1:], **kwargs) if args else None
    if hasattr(operator, call.name):
        return getattr(operator, call.name)(*args)
    turned = f"__{call.name.removeprefix('__r')}"
    if call.name.startswith("__r") and hasattr(operator, turned):
        return getattr(operator, turned)(*args[::-1])
    return getattr(args[0], call.name)(*args[1:])
