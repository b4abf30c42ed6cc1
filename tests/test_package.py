"""The package as a whole: cheap to import, every public name there, and imports that run one way."""

import ast
import functools
import graphlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minialex as mx

PACKAGE = Path(mx.__file__).parent

# The rooms in reading order. A module imports only from rows above its own; a row of "folder.*" is one room, whose
# files may import each other, though not in a circle.
ROWS = [
    "errors words",
    "shapes",
    "naive",
    "devices.*",
    "devices",
    "layers.elsewhere layers.settings layers.init layers.windows",
    "layers.parameter",
    "layers.holder",
    "layers.calls",
    "layers.layer",
    "layers.names",
    "layers.conv layers.pool layers.activation layers.linear layers.norm layers.batch_norm layers.dropout "
    "layers.loss",
    "layers.sequential",
    "layers.model",
    "layers.branches layers.leaving",
    "layers.dense layers.gate layers.exits",
    "layers.towers",
    "layers",
    "fast.cpu.pieces fast.cpu.windows",
    "fast.*",
    "fast",
    "models.*",
    "models",
    "weights.*",
    "weights",
    "data.*",
    "data",
    "training.*",
    "training",
    "minialex",
    "check.*",
    "check",
    "tracing.*",
    "tracing",
    "study.*",
    "study",
    "cluster.*",
    "cluster",
    "claims.*",
    "claims",
    "plot.*",
    "plot",
    "commands.*",
    "commands",
    "__main__",
]
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row.split()}

# What the project promises to tests outside of it.
PUBLIC = """
    Conv2D TableConv2D Linear Flatten ReLU Sigmoid Tanh MaxPool2D AvgPool2D Subsampling LocalResponseNorm Dropout RBF
    Sequential Towers Broadcast Exchange Gather SoftmaxCrossEntropy SGD gradcheck trace models weights data Device
    to_numpy device_of transfer
""".split()


def in_a_fresh_python(code, *options, **environment):
    """What `code` prints, run by a new interpreter in which every warning is an error, as in pyproject.toml."""
    renamed = [
        f"ignore::DeprecationWarning:matplotlib.{module}" for module in ("_fontconfig_pattern", "_mathtext")
    ]
    filters = [f"-W{each}" for each in ("error", *renamed)]
    command = [sys.executable, *filters, *options, "-c", code]
    environment = {**os.environ, **environment}
    done = subprocess.run(
        command, cwd=PACKAGE.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- what it costs ---------------------------------------------------------------------------------


def test_minialex_costs_at_most_half_of_what_numpy_does(tmp_path):
    """Of processor time in one process, the least of ten: others only add. Measured: a fifth; NumPy 2.0: a third."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    in_a_fresh_python("import minialex", **compiled)  # from here on both have their compiled files
    clock = "time.process_time()"
    code = f"import time; a = {clock}; import numpy; b = {clock}; import minialex; print(({clock} - b) / (b - a))"
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}  # others would spin beside what is measured
    assert min(float(in_a_fresh_python(code, **compiled, **one_thread)) for _ in range(10)) <= 0.5


def test_minialex_brings_no_module_that_only_some_of_its_users_need():
    """NumPy itself reads `numpy.random` when it is first asked for: an annotation is enough."""
    code = "import sys, numpy; before = {*sys.modules}; import minialex; print(*({*sys.modules} - before))"
    found = set(in_a_fresh_python(code).split())
    assert not found & {"difflib", "numpy.random", "hashlib", "json", "argparse"}


@pytest.mark.parametrize(
    "code",
    [
        "import minialex",
        "from minialex import Conv2D, SGD; Conv2D(1, 1, 1)",
        "import minialex as mx; mx.place('cpu'); mx.models.lenet5(); mx.gradcheck",
    ],
)
def test_minialex_leaves_the_heavy_packages_for_those_who_use_them(code):
    heavy = "cupy matplotlib PIL hypothesis safetensors pooch requests tqdm torch threadpoolctl pytest"
    code += f"; import sys; print(*(name for name in {heavy.split()} if name in sys.modules))"
    assert in_a_fresh_python(code).split() == []


# ---- public names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", mx.__all__)
def test_a_public_name_resolves_in_a_program_that_imports_nothing_else(name):
    assert getattr(mx, name) is not None


def test_each_room_is_found_from_a_fresh_start():
    rooms = [name for name in mx.__all__ if inspect.ismodule(getattr(mx, name))]
    code = f"import minialex as mx; print(*(getattr(mx, name).__name__ for name in {rooms}))"
    found = in_a_fresh_python(code).split()
    assert found == [getattr(mx, name).__name__ for name in rooms]
    assert all(name.startswith("minialex.") for name in found)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_promised_names_are_public(name):
    assert name in mx.__all__


def test_each_public_name_is_listed_once():
    assert len(set(mx.__all__)) == len(mx.__all__)
    assert dir(mx) == sorted(mx.__all__)


def test_a_name_in_other_letters_is_told_the_right_ones():
    with pytest.raises(AttributeError, match=r"^minialex has no 'Conv2d'; it has 'Conv2D'$"):
        mx.Conv2d  # noqa: B018


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^minialex has no 'Zebra'$"):
        mx.Zebra  # noqa: B018


@pytest.mark.parametrize("name", mx.__all__)
def test_what_is_public_says_what_it_is(name):
    assert getattr(mx, name).__doc__  # its own: a class does not inherit its parent's


@pytest.mark.parametrize("name", ["Device", "Layer", "Parameter", "SGD", "Sequential", "Model"])
def test_the_methods_of_what_users_hold_say_what_they_do(name):
    methods = inspect.getmembers(getattr(mx, name), inspect.isfunction)
    obvious = {"forward", "backward"}  # the class's own docstring says it
    assert [
        m for m, method in methods if m[0] != "_" and m not in obvious and not inspect.getdoc(method)
    ] == []


def test_the_package_is_typed_and_says_so_to_whoever_installs_it():
    assert (PACKAGE / "py.typed").is_file()
    pyproject = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf8")
    assert 'minialex = ["py.typed",' in pyproject


def test_the_version_is_the_same_wherever_it_stands():
    texts = {
        name: (PACKAGE.parent / name).read_text(encoding="utf8")
        for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")
    }
    assert 'dynamic = ["version"]' in texts["pyproject.toml"]
    assert 'version = { attr = "minialex.__version__" }' in texts["pyproject.toml"]
    assert f"\nversion: {mx.__version__}\n" in texts["CITATION.cff"]
    first = re.findall(r"^## \[(.*)\]", texts["CHANGELOG.md"], re.MULTILINE)[:2]
    assert first == ["Unreleased", mx.__version__]


# ---- imports ---------------------------------------------------------------------------------------


def module_of(path):
    """layers/conv.py is "layers.conv", layers/__init__.py "layers", __init__.py "minialex"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "minialex"


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def row_of(module):
    """Which row a module stands in."""
    row = ROW_OF.get(module, ROW_OF.get(f"{module.partition('.')[0]}.*" if "." in module else None))
    assert row is not None, (
        f"minialex/{module} stands in no row: find its place in CONTRIBUTING's rooms, and in ROWS"
    )
    return row


@functools.cache
def imported(path):
    """The names that a file imports, at its top or inside a function, except for type checkers alone."""
    return set(_imported(path))


def _imported(path):
    tree = ast.parse(path.read_text(encoding="utf8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for name in [f"{node.module}.{alias.name}" for alias in node.names]:
                yield name if name.removeprefix("minialex.") in MODULES else node.module


def rooms_imported(path):
    """The modules of this package that a file imports."""
    return {name.removeprefix("minialex.") for name in imported(path)} & set(MODULES) - {module_of(path)}


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    row = row_of(module)
    for other in rooms_imported(MODULES[module]):
        same_room = row_of(other) == row and ROWS[row].endswith(".*")
        assert row_of(other) < row or same_room, f"{module} imports {other}, which does not stand above it"


def test_no_imports_run_in_a_circle():
    graph = {module: rooms_imported(path) for module, path in MODULES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("cupy", "devices. fast.cuda."),
        ("cupy_backends", "devices. fast.cuda."),
        ("matplotlib", "plot."),
        ("torch", ""),
        ("scipy", "claims.verdicts."),
    ],
)
def test_a_package_is_imported_only_where_it_belongs(package, allowed):
    for module, path in MODULES.items():
        if package in {name.split(".")[0] for name in imported(path)}:
            assert any(f"{module}.".startswith(room) for room in allowed.split()), module
