"""The pictures of a run: found, limited, put into batches, described, measured for the network's input."""

import time
from contextlib import closing
from pathlib import Path

import numpy as np

from minialex.data.augment import Colour, Prepare, mean_image
from minialex.data.classes import index_map
from minialex.data.folder import find_pictures
from minialex.data.loader import DummyBatches, PictureBatches
from minialex.data.pictures import draw_pictures
from minialex.errors import CheckpointError, DataError
from minialex.training.networks import pictures_wanted
from minialex.training.picture_settings import DRAWN_SIDE
from minialex.training.runs import INPUT, read_input, write_input
from minialex.words import counted

TIMED = 32  # pictures that are read to see how long it takes


class Pictures:
    """What a run reads: training and validation batches, and what its network is to know of them."""

    def __init__(self, args, settings, trained=None):
        """trained: with -e, the names of the network's classes in its order. Labels are theirs, in place of numbers
        that hang on which folders there are."""
        self.args, self.settings = args, settings
        self.train_list = self.val_list = None
        self.classes = trained or [f"class {i}" for i in range(1000)]
        if not settings["dummy"]:
            drawn = "drawn-pictures"
            if settings["side"] != DRAWN_SIDE:
                drawn += f"-{settings['side']}"
            root = settings["data"] or draw_pictures(Path("runs", drawn), size=settings["side"])
            truth, ids = settings["ground_truth"], settings["class_ids"]
            self.val_list = self.limited(find_pictures(root, "val", truth, ids, trained))
            if not args.evaluate:
                self.train_list = self.limited(find_pictures(root, "train"))
            self.classes = self.val_list.classes

    def limited(self, pictures):
        """--limit: so many, spread over the list, which is sorted by class."""
        limit = min(self.settings["limit"] or len(pictures), len(pictures))
        return pictures.part(np.linspace(0, len(pictures) - 1, limit).astype(int))

    def batches(self, pictures, prepare):
        """Batches of some pictures, as `prepare` makes them ready."""
        s = self.settings
        if s["dummy"]:
            return DummyBatches(
                s["limit"] or 10 * s["batch_size"], s["batch_size"], prepare.crop, len(self.classes)
            )
        return PictureBatches(
            pictures,
            prepare,
            s["batch_size"],
            s["seed"],
            self.args.workers,
            s["max_bad"],
            self.args.cache or (None if s["data"] else Path("runs", "drawn-cache")),
            s["side"],
        )

    def seconds_to_read(self, prepare) -> float:
        """How long one training picture takes to be read and prepared, measured on a few, by themselves.

        0 for those that are kept decoded, and where the few cannot be read: training says why.
        """
        s = self.settings
        if s["dummy"] or self.args.cache or not s["data"]:
            return 0.0
        count = min(TIMED, len(self.train_list))
        few = self.train_list.part(np.linspace(0, len(self.train_list) - 1, count).astype(int))
        batches = PictureBatches(few, prepare, count, s["seed"], self.args.workers, count, side=s["side"])
        began = time.perf_counter()
        try:
            with closing(batches.in_order()) as one:
                next(one)
        except (DataError, StopIteration):
            return 0.0
        return (time.perf_counter() - began) / count

    def describe(self):
        """How many, of which classes, and what was passed over."""
        if self.settings["dummy"]:
            return "random numbers in place of pictures"
        sets = [pictures for pictures in (self.train_list, self.val_list) if pictures]
        sizes = [f"{counted(len(self.train_list), 'picture')} to train on"] if self.train_list else []
        sizes.append(f"{len(self.val_list):,} to validate")
        used = [
            self.classes[i] for i in sorted({int(i) for pictures in sets for i in np.unique(pictures.labels)})
        ]
        classes = counted(len(self.classes), "class", "classes")
        if len(used) < len(self.classes):
            classes = f"{len(used)} of {classes}"
        lines = [f"{' and '.join(sizes)}, {classes}: {first_names(used)}"]
        if numbers := index_map(self.classes):
            lines.append(f"Labels by name, in the order of texts: {numbers}")
        lines += [f"Passed over: {pictures.passed}" for pictures in sets if pictures.passed]
        return "\n".join(lines)


def first_names(names) -> str:
    """Ten of them, in a line.

    >>> first_names(["cat", "dog"])
    'cat, dog'
    """
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def measures_its_input(settings) -> bool:
    """Does the network take the mean picture away, or add the colours of the training pictures?"""
    wanted = pictures_wanted(settings)
    return not settings["dummy"] and (wanted.mean == "image" or bool(wanted.colour))


def measured_before(path):
    """What a resumed run has measured; None where that is lost."""
    if not path.is_file():
        return None
    try:
        return read_input(path)
    except CheckpointError as error:
        print(f"{path} is of no use ({error}): it is made anew.")


def measure_input(model, pictures, path, checkpoint):
    """The mean image and the colours of the training pictures, from up to 10,000 of them; kept in `path`.

    A resumed run has them beside its checkpoint.
    """
    arrays = checkpoint and measured_before(Path(checkpoint.path).with_name(INPUT))
    if not arrays:
        print("Measuring the mean and the colours of up to 10,000 training pictures ...", flush=True)
        raw = pictures.batches(pictures.train_list, Prepare(crop=model.input.crop))
        colour = Colour.of(raw.squares(2_000))
        arrays = {"mean": mean_image(raw.squares(10_000)), "values": colour.values, "vectors": colour.vectors}
    write_input(path, arrays)
    return arrays["mean"], Colour(arrays["values"], arrays["vectors"])
