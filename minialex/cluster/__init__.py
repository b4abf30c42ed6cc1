"""Past one machine: processes that share each batch, on as many machines as there are, and sum their gradients by MPI.

Each process has all of the network and takes its share of each batch. What a gradient is does not change: a sum over
pictures, of which each process makes a part (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural
networks", section 2: data parallelism).

    mpiexec -n 4 python program.py

    with mx.cluster.joined() as cluster:
        history = mx.train.fit(model, x, y, lr=0.1, epochs=3, cluster=cluster)

Every process runs the same program and makes the same calls, whatever happens to it: that is what MPI needs, and all
that is decided (to stop, to lower the rate, that too many pictures are unreadable) is decided from sums.
"""

from minialex.cluster.cluster import Cluster
from minialex.cluster.group import Group
from minialex.cluster.joining import joined
from minialex.cluster.options import cluster_of, described
from minialex.cluster.planning import Plan, plan
from minialex.cluster.weird_trick import WeirdTrick

__all__ = [
    "Cluster", "Group", "Plan", "WeirdTrick", "cluster_of", "described", "joined", "plan",
]  # fmt: skip
