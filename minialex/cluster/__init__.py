"""Past one machine: processes that share each batch, on as many machines as there are, and sum their gradients by MPI.

Each process has all of the network and takes its share of each batch. What a gradient is does not change: a sum over
pictures, of which each process makes a part (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural
networks", section 2: data parallelism).

    pip install "minialex[cluster]"              mpi4py, for the MPI that your machines have (module load openmpi)
    pip install "minialex[cluster-local]"        or with an MPI of its own, MPICH, to try it on one machine

    mpiexec -n 4 python program.py
    mpiexec -n 4 -hosts one,two python program.py              two machines, MPICH; with Open MPI --host one:2,two:2

    with mx.cluster.joined() as cluster:
        history = mx.train.fit(model, x, y, lr=0.1, epochs=3, cluster=cluster)

Every process runs the same program and makes the same calls, whatever happens to it: that is what MPI needs, and all
that is decided (to stop, to lower the rate, that too many pictures are unreadable) is decided from sums. Machines need
the same versions and the same pictures; what differs is named before anything is trained. The first process prints, and
writes to its own disk. A layer of your own that draws random numbers should draw them by the picture's number in the
batch, as `Dropout` does by its `first`: each process calls it with its own pictures alone.

`joined` says what happens when one fails, `WeirdTrick` shares fully connected layers another way, and `plan` says how
long a step would take on many; what changes there is in examples/results/cluster.md.
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
