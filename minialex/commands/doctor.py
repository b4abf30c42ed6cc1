"""Versions, devices, data; what is missing, and what mends it."""

import importlib.metadata
import os
import platform
import textwrap

import minialex as mx
from minialex.devices.twins import fast_by_default, twins_of
from minialex.words import counted

REQUIRED = ("numpy", "pillow", "matplotlib", "tqdm", "pooch", "requests", "safetensors", "threadpoolctl")
WIDTH = 80  # columns of a small terminal
OPTIONAL = {
    "hypothesis": 'pip install "minialex[test]" (strategies, tests)',
    "pytest": 'pip install "minialex[test]" (tests)',
    "jupyterlab": 'pip install "minialex[lessons]" (lessons)',
    "torch": "pip install torch (a yardstick in tests and benchmarks only)",
}


def add_options(parser) -> None:
    """There are none."""


def run(args) -> int:
    """Say what is here and what is missing; exit status 1 if something has to be mended."""
    mend = []
    print(f"minialex {mx.__version__}, Python {platform.python_version()}")
    print(platform.platform())

    print("\nPackages")
    for name in REQUIRED:
        version = version_of(name)
        print(f"  {name:<14}{version or 'MISSING'}")
        if not version:
            mend.append(f"pip install {name}")
    for name, remedy in OPTIONAL.items():
        version = version_of(name)
        say(name, version or f"not installed (optional): {remedy}")

    cpu = mx.Device("cpu")
    print("\nDevices")
    say("cpu", f"{counted(os.cpu_count(), 'core')}, {cpu.threads} used; {blas()}")
    say("cuda", cuda())
    print(f"  fast twins    {fast_twins()}")
    print("  sim:0, sim:1  pretended GPUs, for tests and lessons: always there")

    print("\nData")
    mend += data()
    print("\n" + ("To mend: " + "; ".join(mend) if mend else "Nothing that is needed is missing."))
    return 1 if mend else 0


def say(name: str, text: str, room: int = 14) -> None:
    """A line of the report; what does not fit into a terminal goes on below."""
    options = {"width": WIDTH, "break_long_words": False, "break_on_hyphens": False}
    left = " " * (2 + room)
    print(textwrap.fill(text, initial_indent=f"  {name:<{room}}", subsequent_indent=left, **options))


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


def data() -> list[str]:
    """Say which sets are here; returns what is to be mended. None is needed: without MNIST the examples draw digits."""
    try:
        from minialex.data.here import look_for_all

        sets = look_for_all()
    except ImportError as error:
        say("mnist, ...", f"cannot be looked for: {error}", room=16)
        return []
    told = set()  # some sets have the same names of files
    for here in sets:
        say(here.name, "the same file is damaged" if here.damaged in told else in_words(here), room=16)
        told |= {here.damaged} - {""}
    say("drawn digits", "always there; examples and lessons take them where MNIST is not here", room=16)
    if absent := [here.name for here in sets if not here.whole and not here.damaged]:
        folder = os.environ.get("MINIALEX_DATA") or "not set"
        where = f"Sets are looked for in the folder MINIALEX_DATA ({folder}), then in a cache."
        say("", f'mx.data.load("{absent[0]}") fetches it. {where}', room=0)
    return ["delete the damaged file, it will be fetched again"] * any(here.damaged for here in sets)


def in_words(here) -> str:
    """What there is of a set."""
    where = ", ".join(map(str, here.folders))
    if here.damaged:
        return f"damaged: {here.damaged}"
    if here.missing and here.folders:
        return f"in part: {', '.join(here.missing)} not in {where}"
    if here.missing:
        return "not here" + (f", for {here.others[0]}" if here.others else "")
    if here.unchecked:
        return f"found in {where}; not as it was published, so its checksums say nothing"
    return f"found in {where}; its checksums are right"
