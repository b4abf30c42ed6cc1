"""Experiments with LeNet-5 on MNIST. Each function reads like its protocol, whose numbers it takes."""

from minialex.claims.arm import Arm, Difference, Experiment, Level, Ratio
from minialex.claims.protocol import Protocol


def lenet5(p: Protocol, **settings) -> Arm:
    """What all of them share, but for what an experiment changes: batches of 64, momentum 0.9."""
    return Arm("mnist", "lenet", pictures=p.pictures, epochs=p.epochs).but(**settings)


def lenet_curve(p: Protocol) -> Experiment:
    """Has it converged after half of the epochs? Then the other half gains nothing to speak of."""
    return Experiment(
        arms={"LeNet-5": lenet5(p, schedule="constant", measures=("late_gain",))},
        primary=Level("LeNet-5", "late_gain"),
        choose="test_error",
    )


def lenet_1998(p: Protocol) -> Experiment:
    """The network of 60,000 parameters, without and with distorted digits."""
    as_it_was = lenet5(p, variant="1998", batch_size=32)
    return Experiment(
        arms={"1998": as_it_was, "distorted": as_it_was.but(augment=("distortions",))},
        primary=Level("1998"),
        also=(Level("distorted"), Difference("distorted", than="1998")),
        second=Level("distorted"),
    )


def dropout(p: Protocol) -> Experiment:
    """Half of the units of C5 and F6 are dropped, or none."""
    without = lenet5(p, measures=("arrival",))
    return Experiment(
        arms={"dropout": without.but(dropout=0.5), "none": without},
        primary=Difference("dropout", than="none"),
        also=(
            Difference("dropout", than="none", outcome="train_loss", more=True),
            Difference("dropout", than="none", outcome="gap"),
            Ratio("none", than="dropout", outcome="epochs_to_error"),
        ),
        second=Difference("dropout", than="none", outcome="train_loss", more=True),
    )


EXPERIMENTS = {"lenet-curve": lenet_curve, "lenet-1998": lenet_1998, "dropout": dropout}
