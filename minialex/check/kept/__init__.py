"""What a learner wrote, kept as files, and made into a network of their own."""

from minialex.check.kept.exercises import names
from minialex.check.kept.folder import keep_in
from minialex.check.kept.keeping import Kept, keep
from minialex.check.kept.network import Mine, mine

__all__ = ["Kept", "Mine", "keep", "keep_in", "mine", "names"]
