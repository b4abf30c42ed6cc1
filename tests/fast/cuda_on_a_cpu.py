"""The CUDA kernels on the CPU: the same source, compiled by g++; a few lines stand in for CUDA, threads run in turn."""

import ctypes
import functools
import re
import shutil
import subprocess

import numpy as np

from minialex.fast.cuda import kernels

CUDA_ON_A_CPU = """
#include <cmath>
#define __global__
using std::pow;
struct Dim { unsigned x, y, z; };
extern "C" { Dim gridDim, blockDim, blockIdx, threadIdx; }
"""
GUARD = 64  # numbers before and after each array that no kernel may touch
IN_PLACE = ("sgd", "lrn_gather")  # kernels that change an array


class Dim(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


class Host:
    """`host.kernel` stands in for `kernels._kernel`: the same source, compiled by g++ and run on NumPy arrays."""

    def __init__(self, folder):
        self.folder, self.compiler, self.blocks_and_threads = folder, shutil.which("g++"), (2, 3)

    def kernel(self, name, *types):
        function, parameters = getattr(self.library(*types), name), parameters_of(name)
        c_types = {"Real": np.dtype(types[0]), "Index": np.dtype(types[1]), "Cell": np.dtype(types[2])}

        def run(grid, block, arguments):
            assert 1 <= grid[0] <= 2**31 - 1
            assert 1 <= block[0] <= 1024
            assert len(arguments) == len(parameters)
            passed, guarded = [], []
            for parameter, argument in zip(parameters, arguments, strict=True):
                const, c_type, pointer = re.fullmatch(r"(const )?(\w+)(\*?) \w+", parameter).groups()
                assert argument.dtype == c_types[c_type], parameter
                if pointer:
                    assert isinstance(argument, np.ndarray), parameter
                    assert argument.flags.c_contiguous, parameter
                    guarded.append((argument, in_guards(argument, name not in IN_PLACE and not const), const))
                    passed.append(ctypes.c_void_p(guarded[-1][1][GUARD:].ctypes.data))
                else:
                    assert np.ndim(argument) == 0, parameter
                    passed.append(np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item()))
            self.run_threads(function, types, passed)
            for array, buffer, const in guarded:
                assert is_guard(buffer[:GUARD]).all(), f"{name} wrote before an array"
                assert is_guard(buffer[GUARD + array.size :]).all(), f"{name} wrote behind an array"
                if not const:
                    array[...] = buffer[GUARD : GUARD + array.size].reshape(array.shape)

        return run

    def run_threads(self, function, types, passed):
        """Few threads, so that each has several rounds to go; the last one first, if their number is negative."""
        blocks, threads = self.blocks_and_threads
        dims = {
            dim: Dim.in_dll(self.library(*types), dim)
            for dim in "gridDim blockDim blockIdx threadIdx".split()
        }
        dims["gridDim"].x, dims["blockDim"].x = blocks, abs(threads)
        for number in list(range(blocks * abs(threads)))[:: 1 if threads > 0 else -1]:
            dims["blockIdx"].x, dims["threadIdx"].x = divmod(number, abs(threads))
            function(*passed)

    @functools.cache  # noqa: B019
    def library(self, *types):
        stem = self.folder / "_".join(types)
        stem.with_suffix(".cpp").write_text(CUDA_ON_A_CPU + kernels.source(*types), encoding="utf8")
        options = "-shared -fPIC -O1 -ffp-contract=off -Wall -Werror -o".split()
        command = [self.compiler, *options, stem.with_suffix(".so"), stem.with_suffix(".cpp")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(stem.with_suffix(".so")))


def parameters_of(name):
    """["const Real* x", ..., "Index count", ...], as the source lists them."""
    source = kernels.SOURCE.replace("\\\n", " ")
    geometry = re.search(r"#define GEOMETRY (.*)", source)[1]
    listed = re.search(rf"__global__ void {name}\((.*?)\)", source, re.DOTALL)[1]
    return [" ".join(part.split()) for part in listed.replace("GEOMETRY", geometry).split(",")]


def in_guards(array, poisoned):
    """A copy between guards; where it is for results only, guards all over: what no thread writes is seen."""
    buffer = np.full(array.size + 2 * GUARD, np.nan if array.dtype.kind == "f" else 0, array.dtype)
    if array.dtype.kind != "f":
        buffer[...] = 251
    if not poisoned:
        buffer[GUARD : GUARD + array.size] = array.ravel()
    return buffer


def is_guard(values):
    return np.isnan(values) if values.dtype.kind == "f" else values == 251
