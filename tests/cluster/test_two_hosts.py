"""Two machines, pretended by two network namespaces with a cable between them: real MPI over TCP.

pytest -m slow tests/cluster/test_two_hosts.py        (Linux, as root)
"""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from running import ONE_THREAD, PACKAGE, wait_until
from test_cluster import CASES, check
from test_cluster import pytestmark as needs_mpi

from minialex.training.checkpoint import load_checkpoint

OVER_TCP = {
    "UCX_TLS": "tcp,self",
    "FI_PROVIDER": "tcp",
}  # not through the memory that both pretended machines share
HERE, THERE = "10.77.0.1", "10.77.0.2"
pytestmark = [
    pytest.mark.slow,
    needs_mpi,
    pytest.mark.skipif(
        not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("ip") and shutil.which("unshare")),
        reason="network namespaces need Linux, root, and the command ip",
    ),
]


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts(tmp_path):
    """Two machines; gives what starts a program on both: as ssh, but for a namespace."""
    names = {HERE: f"mxa{os.getpid()}", THERE: f"mxb{os.getpid()}"}
    made = []
    try:
        for name in names.values():
            ip("netns", "add", name)
            made.append(name)
        cable = [f"mxv{end}{os.getpid() % 10_000}" for end in "ab"]
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for (address, name), end in zip(names.items(), cable, strict=True):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", end, "up")
        launcher = tmp_path / "launch"
        launcher.write_text(
            "#!/bin/bash\n"
            "while [[ $1 == -* ]]; do shift; done\n"
            f"case $1 in {HERE}) name={names[HERE]};; *) name={names[THERE]};; esac\n"
            'shift; exec ip netns exec "$name" unshare -u bash -c "hostname $name; exec $*"\n'
        )
        launcher.chmod(0o755)
        yield launcher, names, cable
    finally:
        for name in made:
            for pid in pids_in(name):
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], check=False)


def start(hosts, case, **options):
    """Two processes on each of both."""
    launcher, names, cable = hosts
    mpiexec = ["mpiexec", "-launcher", "ssh", "-launcher-exec", launcher, "-iface", cable[0]]
    mpiexec += ["-hosts", f"{HERE}:2,{THERE}:2", "-n", "4", sys.executable, CASES, case, json.dumps(options)]
    line = " ".join(f"'{word}'" for word in map(str, mpiexec))
    return subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            names[HERE],
            "unshare",
            "-u",
            "bash",
            "-c",
            f"hostname {names[HERE]}; exec {line}",
        ],
        env={**os.environ, **PACKAGE, **ONE_THREAD, **OVER_TCP},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pids_in(name):
    """What runs on a machine."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True)
    return list(map(int, found.stdout.split()))


def pids(hosts, address):
    return pids_in(hosts[1][address])


def sent_over(hosts):
    """Bytes that went over the cable."""
    _, names, cable = hosts
    shown = subprocess.run(
        ["ip", "-n", names[HERE], "-s", "-j", "link", "show", cable[0]], capture_output=True, check=True
    )
    return json.loads(shown.stdout)[0]["stats64"]["tx"]["bytes"]


def test_two_machines_learn_what_one_process_learns(hosts):
    out, err = start(hosts, "as_one", nets=["lenet", "alexnet", "resnet"]).communicate(timeout=120)
    assert err == ""
    check(json.loads(out), steps=6)
    assert sent_over(hosts) > 1e6


def test_a_machine_that_cannot_be_reached_any_more_is_given_up(hosts, tmp_path):
    folder = tmp_path / "run"
    with start(hosts, "long_run", folder=str(folder), epochs=100_000, patience=3.0) as process:
        wait_until((folder / "checkpoint.safetensors").is_file)
        before = len(pids(hosts, HERE))
        ip("-n", hosts[1][THERE], "link", "set", hosts[2][1], "down")
        said = process.stderr.readline()
        wait_until(lambda: len(pids(hosts, HERE)) < before)
        process.kill()  # mpiexec waits for what it started there, until it is interrupted
    assert "no answer came from one or more of the other 3 processes for 3 s" in said
    assert load_checkpoint(folder / "checkpoint.safetensors").state["progress"]["epoch"] >= 1
