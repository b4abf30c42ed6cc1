"""Training a SmartNet exit by exit, the part before kept as it is: whose turn it is."""

from collections.abc import Callable, Sequence

from minialex.training.networks import freeze


def exit_by_exit(
    model,
    epochs: int,
    exits: Sequence[int] | None = None,
    frozen: str = "",
    begin: bool = True,
    say: Callable[[str], None] | None = None,
) -> Callable[[int, bool], None]:
    """For `fit(each_epoch=)`: the same number of epochs for each exit, as near as whole ones can be.

    exits: those that are trained, counted from 1; left out, all of them. frozen: layers that stay as they are in every
    exit's turn, as `freeze` has them. begin: an exit begins as a copy of the one before, unless its own is frozen.
    say: is told whose turn begins, or goes on.
    Raises ValueError for fewer epochs than exits, and where an exit cannot begin so: see `SmartNet.learn`.

    >>> from minialex.models import smartnet
    >>> model = smartnet(2, num_classes=10, preset="small", width=0.1)
    >>> before_epoch, learning = exit_by_exit(model, epochs=5), []
    >>> for epoch in range(5):
    ...     before_epoch(epoch, False)
    ...     learning.append(model.learning)
    >>> learning
    [1, 1, 1, 2, 2]
    """
    turns = list(exits or range(1, len(model.exits) + 1))
    check_epochs(epochs, turns)
    names = freeze(model, frozen)
    still = [p for name, p in model.named_parameters() if name in names]
    is_still = {id(p) for p in still}
    told = set()
    copied = [not any(id(p) in is_still for p in model.path(exit)[-1].parameters()) for exit in turns]
    for exit in (exit for exit, copy in zip(turns, copied, strict=True) if begin and copy and exit > 1):
        model.check_begins(exit)  # now, and not after the epochs of those before

    def before_epoch(epoch, begun):
        """begun: an epoch in whose middle a run goes on."""
        turn = exit_of(epoch, len(turns), epochs)
        is_first = epoch == first_epoch(turn, len(turns), epochs) and not begun
        if say and turn not in told:
            told.add(turn)
            say(whose_turn(turns[turn - 1], len(model.exits)))
        model.learn(turns[turn - 1], begin=begin and is_first and copied[turn - 1])
        freeze(model, frozen)  # whose batch normalisation learns otherwise, where it is the exit's own
        for p in still:
            p.lr_scale = 0.0

    return before_epoch


def whose_turn(exit: int, exits: int) -> str:
    """For the log.

    >>> whose_turn(3, 4)
    'Exit 3 of 4 learns; exits 1 to 2 stay as they are.'
    """
    stay = {1: "", 2: "; exit 1 stays as it is"}.get(exit, f"; exits 1 to {exit - 1} stay as they are")
    return f"Exit {exit} of {exits} learns{stay}."


def exit_of(epoch: int, exits: int, epochs: int) -> int:
    """The exit that is trained in this epoch; both as they are counted, from 0 and from 1."""
    return epoch * exits // epochs + 1


def first_epoch(exit: int, exits: int, epochs: int) -> int:
    """The epoch in which an exit's training begins."""
    return -(-(exit - 1) * epochs // exits)


def check_epochs(epochs: int, turns: Sequence[int]) -> None:
    """Raises ValueError for fewer epochs than exits that are trained."""
    if epochs < len(turns):
        raise ValueError(
            f"{len(turns)} exits, trained one after the other, need {len(turns)} epochs, not {epochs}"
        )


def turns_of(model, kept: int | None = None, frozen: str = "") -> list[int]:
    """The exits that are trained: those behind the first `kept` ones that have something to learn.

    frozen: layers that stay as they are. Raises ValueError where that is all that could learn.

    >>> from minialex.models import smartnet
    >>> model = smartnet(3, num_classes=10, preset="small", width=0.1)
    >>> turns_of(model), turns_of(model, kept=2), turns_of(model, frozen="stem,block1,exit1,block2")
    ([1, 2, 3], [3], [2, 3])
    """
    still = freeze(model, frozen)
    learns = {id(p) for name, p in model.named_parameters() if name not in still}
    turns = []
    for exit in range((kept or 0) + 1, len(model.exits) + 1):
        before = model.path(exit - 1) if exit > 1 else []
        own = [layer for layer in model.path(exit) if not any(layer is other for other in before)]
        if any(id(p) in learns for layer in own for p in layer.parameters()):
            turns.append(exit)
    if not turns:
        raise ValueError(
            f"there is nothing to train: of exit {(kept or 0) + 1} to {len(model.exits)} all that could learn is frozen"
        )
    return turns
