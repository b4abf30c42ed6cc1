"""Reading pictures, for benchmark.py: the loader with so many workers, and what Pillow takes for it by itself."""

import numpy as np
from PIL import Image

from minialex.data.augment import Prepare
from minialex.data.loader import PictureBatches
from minialex.study.benchmarks import Side
from minialex.words import counted

ALONE = "Pillow alone"


def sides(pictures, side: int, crop: int, batch: int, workers: list[int]) -> list[Side]:
    """A step of each reads all the pictures once."""

    def with_workers(number):
        batches = PictureBatches(pictures, Prepare(crop), batch, workers=number, side=side)
        return Side(counted(number, "worker"), lambda: sum(len(x) for x, _ in batches.shuffled(0)))

    alone = Side(ALONE, lambda: read_with_pillow(pictures.files, side, crop))
    return [alone, *map(with_workers, workers)]


def read_with_pillow(files, side: int, crop: int) -> int:
    """What a loader has to do at least: decode, scale the middle square, crop, numbers. Returns how many there were."""
    first = (side - crop) // 2
    for file in files:
        with Image.open(file) as image:
            image.draft("RGB", (side, side))
            width, height = image.size
            shorter = min(width, height)
            left, top = (width - shorter) / 2, (height - shorter) / 2
            middle = (left, top, left + shorter, top + shorter)
            square = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=middle)
            np.asarray(square.crop((first, first, first + crop, first + crop)), dtype=np.float32)
    return len(files)
