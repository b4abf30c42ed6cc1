"""Part `train`: AlexNet on class folders, interrupted once and taken up again, as far as the seconds go.

A second call with the same FOLDER goes on from where the first one stopped.
"""

import os
import signal
import subprocess
import sys
import time

from gpu_common import ROOT, SECONDS, environment  # isort: skip
from minialex import plot
from minialex.training.checkpoint import load_checkpoint
from minialex.training.networks import make_network

STEPS = 50  # between checkpoints
FOR_A_TRY = ["--limit", "60", "-b", "10", "-j", "1", "--epochs", "2", "-p", "1", "--checkpoint-every", "1"]


def train(args):
    """Its history, curves, and conv1's kernels by tower."""
    if not (args.data or args.small):
        return {"skipped": "no --data"}
    run = args.folder / "run"
    checkpoint, towers = run / "checkpoint.safetensors", f"{args.device},{args.device}"
    program = [sys.executable, str(ROOT / "examples/alexnet_imagenet.py")]
    first = [*program, *what_to_train(args), "--devices", towers, "--output-dir", str(run)]
    again = [*program, "--resume", str(run), "--devices", towers]
    until = time.monotonic() + SECONDS
    if not checkpoint.is_file():
        interrupted(first, checkpoint, until)
    process = subprocess.Popen(again, env=environment())
    try:
        process.wait(max(1, until - time.monotonic()))
        failed = [f"{' '.join(again)} exited with {process.returncode}"] if process.returncode else []
    except subprocess.TimeoutExpired:
        stop(process)
        failed = []
    rows = draw(run, checkpoint, towers)
    print((run / "history.csv").read_text())
    return {"history": rows, "pictures": sorted(path.name for path in run.glob("*.png")), "failed": failed}


def what_to_train(args):
    if args.small:  # on pictures that it draws
        return FOR_A_TRY
    return [str(args.data), "-j", str(os.cpu_count()), "--epochs", os.environ.get("MINIALEX_GPU_EPOCHS", "12"),
            "--lr-scheduler", "cosine", "--cache", str(args.folder.resolve() / "cache"), "-p", "50",
            "--checkpoint-every", str(STEPS)]  # fmt: skip


def interrupted(command, checkpoint, until):
    """Start it, and stop it as soon as there is something to go on from."""
    process = subprocess.Popen(command, env=environment())
    while process.poll() is None and time.monotonic() < until and not checkpoint.is_file():
        time.sleep(0.05)
    ended = process.poll()
    stop(process)
    if ended or not checkpoint.is_file():
        why = f"exited with {ended}" if ended is not None else "was too slow"
        raise RuntimeError(f"no checkpoint in time: {' '.join(command)} {why}")


def stop(process):
    """Ctrl-C, as a person would."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def draw(run, file, towers):
    """Curves and kernels of what there is, though the training may have been stopped; the history."""
    checkpoint = load_checkpoint(file)
    state = checkpoint.state
    model = make_network(state["settings"], checkpoint.record["num_classes"], towers)
    checkpoint.restore(model)
    plot.tower_kernels(model, run / "conv1.png")
    history = state["progress"]["history"]
    if history:
        plot.accuracy_curves(history, run / "curves.png")
    return history
