"""Until all processes are there nothing can run in this one: its MPI waits, and holds Python. Another one looks on."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# A program of its own, which ends when what reads from us closes, however that ends.
LOOK_ON = """
import os, sys, threading
pid, seconds, words = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
def end():
    print(words, file=sys.stderr, flush=True)
    os.kill(pid, 9)
timer = threading.Timer(seconds, end)
timer.daemon = True
timer.start()
sys.stdin.read()
"""


@contextmanager
def limited(pid: int, count: int, seconds: float) -> Iterator[None]:
    """Inside of this `pid`, our process, waits for `count` of them; after so many seconds it says why, and is ended.

    An mpiexec may wait for ever where one of them has ended before it came to MPI, even if that was by an error.
    """
    words = (
        f"a process on {socket.gethostname()}: ClusterError: not all of the {count} processes have come to "
        f"mx.cluster.joined() after {seconds:g} s: one has ended before, or cannot be reached. What it said stands "
        "above"
    )
    command = [sys.executable, "-I", "-S", "-c", LOOK_ON, str(pid), str(min(seconds, 1e6)), words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as watch:
        try:
            yield
        finally:
            watch.kill()
