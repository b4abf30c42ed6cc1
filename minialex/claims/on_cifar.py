"""Experiments with four layers on 10,000 pictures of CIFAR-10. Each function reads like its protocol.

Two of them have arms of LeNet-5 on 10,000 digits as well.
"""

from minialex.claims.arm import Arm, Difference, Experiment, Ratio, Same, Within
from minialex.claims.protocol import Protocol

WARM_UP = 0.75  # epochs; a cosine of 15 has as many


def four_layers(p: Protocol, **settings) -> Arm:
    """What all of them share, but for what an experiment changes: ReLU, overlapping maxima, batches of 64, cosine."""
    return Arm("cifar10", "four-layers", pictures=p.pictures, epochs=p.epochs).but(**settings)


def lenet5(p: Protocol, **settings) -> Arm:
    """LeNet-5, on as many digits as the four layers have pictures."""
    return Arm("mnist", "lenet", pictures=p.pictures, epochs=p.epochs).but(**settings)


def relu_vs_tanh(p: Protocol) -> Experiment:
    """Epochs until 40 % of the training pictures are still wrong, at a rate that is constant after its warm-up."""
    constant = {"schedule": "constant", "warmup": WARM_UP}
    race = four_layers(p, **constant, until=40.0)
    deeper = race.but(middle=16)
    digits = {
        f"LeNet-5, {name}": lenet5(p, **constant, until=1.0, activation=name.lower())
        for name in ("ReLU", "tanh", "sigmoid")
    }
    return Experiment(
        arms={
            "ReLU": race,
            "tanh": race.but(activation="tanh"),
            "sigmoid": race.but(activation="sigmoid"),
            "ReLU, five layers": deeper,
            "tanh, five layers": deeper.but(activation="tanh"),
            **digits,
        },
        primary=Ratio("ReLU", than="tanh"),
        also=(
            Ratio("ReLU", than="sigmoid"),
            Ratio("ReLU, five layers", than="tanh, five layers"),
            Ratio("LeNet-5, ReLU", than="LeNet-5, tanh"),
            Ratio("LeNet-5, ReLU", than="LeNet-5, sigmoid"),
        ),
    )


def lrn(p: Protocol) -> Experiment:
    """Response normalisation after the first two ReLUs; batch normalisation in its place."""
    without = four_layers(p)
    return Experiment(
        arms={
            "LRN": without.but(norm="lrn", measures=("normaliser_spread",)),
            "none": without,
            "BatchNorm": without.but(norm="batch"),
        },
        primary=Difference("LRN", than="none"),
        also=(Difference("BatchNorm", than="none"), Difference("BatchNorm", than="LRN")),
    )


def lrn_order(p: Protocol) -> Experiment:
    """Before pooling, as in 2012, or after it, as in CaffeNet: is the error the same?"""
    before = four_layers(p, norm="lrn")  # not the arm of `lrn`: for the seconds, both run side by side
    return Experiment(
        arms={"before": before, "after": before.but(norm="lrn-after-pool")},
        primary=Same("before", than="after"),
        also=(Difference("after", than="before", outcome="seconds"),),
    )


def overlap(p: Protocol) -> Experiment:
    """Windows of 3, or of 2, at steps of 2, onto maps of the same sizes."""
    overlapping = four_layers(p)
    return Experiment(
        arms={"3/2": overlapping, "2/2": overlapping.but(window=2)},
        primary=Difference("3/2", than="2/2"),
        also=(Difference("3/2", than="2/2", outcome="gap"),),
        second=Difference("3/2", than="2/2", outcome="gap"),
    )


def pooling(p: Protocol) -> Experiment:
    """The largest of four, their mean, or 1998's: their sum, scaled and shifted by numbers that are learned."""
    largest = four_layers(p, window=2)
    return Experiment(
        arms={
            "max": largest,
            "average": largest.but(pool="average"),
            "trainable": largest.but(pool="trainable"),
        },
        primary=Difference("max", than="average"),
        also=(Difference("max", than="trainable"), Difference("trainable", than="average")),
    )


def depth(p: Protocol) -> Experiment:
    """With a fourth convolution in the middle, without it, and without it but as many parameters."""
    without = four_layers(p)
    return Experiment(
        arms={
            "with": without.but(middle=16),
            "without": without,
            "without, wider": without.but(maps=(16, 17, 34)),
        },
        primary=Difference("with", than="without"),
        also=(Difference("with", than="without, wider"),),
    )


def towers(p: Protocol) -> Experiment:
    """Two halves that meet before conv3, as in 2012, or never, with as many parameters."""
    meeting = four_layers(p, groups=(1, 2, 1), measures=("colour",))
    return Experiment(
        arms={"exchange": meeting, "none": meeting.but(groups=(1, 2, 2), maps=(16, 16, 50))},
        primary=Difference("exchange", than="none"),
    )


def augment(p: Protocol) -> Experiment:
    """New pictures of the old ones: crops, mirrored ones, PCA colour, and all three."""
    none = four_layers(p)
    kinds = {name: none.but(augment=(name,)) for name in ("colour", "colour-of-code", "crops", "flips")}
    return Experiment(
        arms={"none": none, **kinds, "all": none.but(augment=("crops", "flips", "colour"))},
        primary=Difference("colour", than="none"),
        also=tuple(Difference(name, "none") for name in ("colour-of-code", "crops", "flips", "all")),
    )


def schedules(p: Protocol) -> Experiment:
    """A rate that stays, falls in steps, falls when the held-out error stalls, or along a cosine, each warmed up."""
    names = ("constant", "steps", "plateau", "cosine")
    rule = {name: {"schedule": name, "warmup": WARM_UP if name != "cosine" else 0.0} for name in names}
    digits = {f"LeNet-5, {name}": lenet5(p, **rule[name]) for name in names}
    return Experiment(
        arms={name: four_layers(p, **rule[name]) for name in names} | digits,
        primary=Difference("steps", than="constant"),
        also=(
            Difference("plateau", than="constant"),
            Difference("cosine", than="constant"),
            Difference("cosine", than="steps"),
            *(Difference(f"LeNet-5, {name}", than="LeNet-5, constant") for name in names[1:]),
        ),
    )


def momentum(p: Protocol) -> Experiment:
    """0.9, or none, each with its own rate."""
    with_it = four_layers(p)
    return Experiment(
        arms={"0.9": with_it, "0": with_it.but(momentum=0.0)},
        primary=Difference("0.9", than="0", outcome="train_loss"),
        also=(Difference("0.9", than="0"),),
    )


def init(p: Protocol) -> Experiment:
    """He's standard deviation, or 0.01 in each layer."""
    scaled = four_layers(p)
    return Experiment(
        arms={"scaled": scaled, "0.01": scaled.but(init="0.01")},
        primary=Difference("scaled", than="0.01", outcome="train_loss"),
        also=(Difference("scaled", than="0.01"),),
    )


def decay(p: Protocol) -> Experiment:
    """2012's 0.0005, or none: is the *training* error lower?"""
    none = four_layers(p)
    return Experiment(
        arms={"0.0005": none.but(weight_decay=0.0005), "none": none},
        primary=Difference("0.0005", than="none", outcome="train_error"),
        also=(Difference("0.0005", than="none"),),
    )


def batch_size(p: Protocol) -> Experiment:
    """Batches of 32, or of 512 for four times as long, each with its own rate; 64 as all others have."""
    middle = four_layers(p)
    large = middle.but(batch_size=512)
    longer = "512, four times as long"
    return Experiment(
        arms={
            "32": middle.but(batch_size=32),
            "64": middle,
            "512": large,
            longer: large.but(epochs=4 * p.epochs),
        },
        primary=Difference("32", than=longer),
        also=(
            Difference("32", than="512"),
            Difference("32", than="64"),
            Difference("32", than=longer, outcome="train_error"),
            Difference("32", than=longer, outcome="gap"),
        ),
    )


def retrieval(p: Protocol) -> Experiment:
    """What is found by the features of the last layer, by codes of 64 bits of them, and by raw pixels."""
    return Experiment(
        arms={"four layers": four_layers(p, measures=("retrieval",))},
        primary=Within("four layers", "precision_features", than="precision_pixels"),
        also=(
            Within("four layers", "precision_codes", than="precision_pixels"),
            Within("four layers", "precision_features", than="precision_codes"),
            Within("four layers", "seconds_features", than="seconds_codes"),
        ),
        choose="test_error",
        second=Within("four layers", "precision_features", than="precision_codes"),
    )


EXPERIMENTS = {
    "relu-vs-tanh": relu_vs_tanh,
    "lrn": lrn,
    "lrn-order": lrn_order,
    "overlap": overlap,
    "pooling": pooling,
    "depth": depth,
    "towers": towers,
    "augment": augment,
    "schedules": schedules,
    "momentum": momentum,
    "init": init,
    "decay": decay,
    "batch-size": batch_size,
    "retrieval": retrieval,
}
