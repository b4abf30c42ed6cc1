"""Training a SmartNet exit by exit, the part before kept as it is."""

from collections.abc import Callable


def exit_by_exit(model, epochs: int) -> Callable[[int, bool], None]:
    """For `fit(each_epoch=)`: the same number of epochs for each exit, as near as whole ones can be.

    Raises ValueError for fewer epochs than exits.

    >>> from minialex.models import smartnet
    >>> model = smartnet(2, num_classes=10, preset="small", width=0.1)
    >>> before_epoch, learning = exit_by_exit(model, epochs=5), []
    >>> for epoch in range(5):
    ...     before_epoch(epoch, False)
    ...     learning.append(model.learning)
    >>> learning
    [1, 1, 1, 2, 2]
    """
    exits = len(model.exits)
    if epochs < exits:
        raise ValueError(f"{exits} exits, trained one after the other, need {exits} epochs, not {epochs}")

    def before_epoch(epoch, begun):
        """begun: an epoch in whose middle a run goes on."""
        exit = exit_of(epoch, exits, epochs)
        model.learn(exit, begin=epoch == first_epoch(exit, exits, epochs) and not begun)

    return before_epoch


def exit_of(epoch: int, exits: int, epochs: int) -> int:
    """The exit that is trained in this epoch; both as they are counted, from 0 and from 1."""
    return epoch * exits // epochs + 1


def first_epoch(exit: int, exits: int, epochs: int) -> int:
    """The epoch in which an exit's training begins."""
    return -(-(exit - 1) * epochs // exits)
