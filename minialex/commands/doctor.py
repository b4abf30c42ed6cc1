"""Versions, devices, data; what is missing, and what mends it."""

import importlib.metadata
import os
import platform
import textwrap

import minialex as mx
from minialex.devices.twins import fast_by_default, twins_of
from minialex.errors import DataError
from minialex.words import counted

REQUIRED = ("numpy", "pillow", "matplotlib", "tqdm", "pooch", "requests", "safetensors", "threadpoolctl")
OPTIONAL = {
    "hypothesis": 'pip install "minialex[test]"     (strategies, tests)',
    "pytest": 'pip install "minialex[test]"     (tests)',
    "jupyterlab": 'pip install "minialex[lessons]"  (lessons)',
    "torch": "pip install torch                (a yardstick in tests and benchmarks only)",
}


def add_options(parser) -> None:
    """There are none."""


def run(args) -> int:
    """Say what is here and what is missing; exit status 1 if something has to be mended."""
    mend = []
    print(f"minialex {mx.__version__}, Python {platform.python_version()}, {platform.platform()}")

    print("\nPackages")
    for name in REQUIRED:
        version = version_of(name)
        print(f"  {name:<14}{version or 'MISSING'}")
        if not version:
            mend.append(f"pip install {name}")
    for name, remedy in OPTIONAL.items():
        version = version_of(name)
        print(f"  {name:<14}{version or 'not installed (optional): ' + remedy}")

    cpu = mx.Device("cpu")
    print("\nDevices")
    print(f"  cpu           {counted(os.cpu_count(), 'core')}, {cpu.threads} used; {blas()}")
    print(f"  cuda          {cuda()}")
    print(f"  fast twins    {fast_twins()}")
    print("  sim:0, sim:1  pretended GPUs, for tests and lessons: always there")

    print("\nData")
    try:
        print(f"  MNIST         {mnist()}")
    except DataError as error:
        print(f"  MNIST         damaged: {error}")
        mend.append("delete the damaged file, it will be fetched again")
    print("\n" + ("To mend: " + "; ".join(mend) if mend else "Nothing that is needed is missing."))
    return 1 if mend else 0


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def fast_twins() -> str:
    """Which layers have a faster text beside their own, and where it is on."""
    lines = []
    for kind, name in (("cpu", "cpu"), ("cuda", "cuda:0")):
        known = sorted(key if isinstance(key, str) else key.__name__ for key in twins_of(kind))
        on = fast_by_default(kind)
        names = textwrap.wrap(", ".join(known) or "none: the folder fast/ is not there", 62)
        lines += [f"{name:<7} {'on' if on and known else 'off'}:", *(f"  {line}" for line in names)]
    return "\n                ".join(lines)


def blas() -> str:
    """The libraries behind NumPy's matrix products, and their threads."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "BLAS: unknown without threadpoolctl"
    found = [
        f"{info['internal_api']} {info.get('version') or ''} with {counted(info['num_threads'], 'thread')}".replace(
            "  ", " "
        )
        for info in threadpool_info()
        if info["user_api"] == "blas"
    ]
    return "BLAS: " + (", ".join(found) or "unknown to threadpoolctl")


def cuda() -> str:
    """The GPUs that CuPy can use, or why there is none."""
    from minialex.devices.device import cuda_names

    try:
        mx.Device("cuda:0")
    except mx.DeviceUnavailable as error:
        return f"none: {error}"
    return ", ".join(f"cuda:{i} {name}" for i, name in enumerate(cuda_names()))


def mnist() -> str:
    """Whether MNIST is here. It is not needed: without it the examples draw digits."""
    from minialex.data import load_mnist

    try:
        load_mnist(download=False)
    except ImportError as error:
        return f"cannot be looked for: {error}"
    except FileNotFoundError:
        return (
            "not here: python examples/lenet_mnist.py fetches it (11 MB), or set MINIALEX_DATA to its folder"
        )
    return "found, and its checksums are right"
