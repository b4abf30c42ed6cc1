"""Pictures: learning curves, kernels, feature maps, mistakes, neighbours, gradient checks, the timeline of a step;
what networks cost, and what is of use in them.

Each subject has a file of its own, and what all share is in look.py; no other room imports matplotlib.

Every function returns a figure, which a notebook shows as a cell's last value, and saves it where `path` is given
(a PNG, or what the path's ending says), whole or not at all. None needs a display, changes matplotlib's settings or
must be closed. Arrays may live on any device. The colours are Okabe and Ito's, which colour-blind readers tell apart as
well.
"""

from minialex.plot.anatomy import dropped, reading
from minialex.plot.answers import confusion, mistakes, neighbours
from minialex.plot.bar_charts import bars
from minialex.plot.checks import gradcheck
from minialex.plot.claims import claim, verdicts
from minialex.plot.cluster import cluster_plan
from minialex.plot.contact import digit_steps, digits
from minialex.plot.costs import costs
from minialex.plot.doubt import unsure_curve
from minialex.plot.history import accuracy_curves, curves
from minialex.plot.leaving import exit_curve, gates, leavers
from minialex.plot.lessons import images, lines, numbers
from minialex.plot.networks import feature_maps, filters, tower_kernels
from minialex.plot.spans import timeline
from minialex.plot.traces import show

__all__ = [
    "accuracy_curves", "bars", "claim", "cluster_plan", "confusion", "costs", "curves", "digit_steps", "digits",
    "dropped", "exit_curve", "feature_maps", "filters", "gates", "gradcheck", "images", "leavers", "lines", "mistakes",
    "neighbours", "numbers", "reading", "show", "timeline", "tower_kernels", "unsure_curve", "verdicts",
]  # fmt: skip
