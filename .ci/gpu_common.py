"""What the parts of .ci/gpu share: where the project lies, and how its programs are started."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ.setdefault("CUPY_TF32", "0")

SECONDS = int(os.environ.get("MINIALEX_GPU_SECONDS", 240))
TWINS = {"off": "0", "on": "1"}  # MINIALEX_FAST


def environment(**variables):
    """This shell's, for a program that finds this minialex."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg", **variables}


def on_gpu(args):
    return args.device.startswith("cuda")
