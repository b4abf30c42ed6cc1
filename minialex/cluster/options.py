"""From a program's options to its processes."""

import argparse
from contextlib import AbstractContextManager, nullcontext

from minialex.cluster.cluster import Cluster
from minialex.cluster.joining import joined
from minialex.cluster.weird_trick import WeirdTrick
from minialex.training.alone import Alone
from minialex.words import counted


def cluster_of(args: argparse.Namespace) -> AbstractContextManager[Alone]:
    """The processes of a program; one that is alone without --cluster."""
    if not args.cluster:
        return nullcontext(Alone())
    scheme = {"scheme": args.scheme} if args.scheme else {}
    return joined(args.parallel or "data", **scheme)


def described(cluster: Alone) -> str:
    """In a line, for who starts a program; together. Empty for one process."""
    if not isinstance(cluster, Cluster):
        return ""
    group = cluster.group
    hosts = group.gather(group.host)
    machines = counted(len(set(hosts)), "machine")
    if group.size == 1:
        return "One process alone: start several with mpiexec -n 4 python ... --cluster"
    shared = "each batch"
    if isinstance(cluster, WeirdTrick):
        shared += f", and the units of fully connected layers (scheme {cluster.scheme})"
    return f"{group.size} processes on {machines} ({', '.join(dict.fromkeys(hosts))}) share {shared}"
