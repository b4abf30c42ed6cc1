"""What a SmartNet's record says of its blocks and of what is read: texts, checked before anything is made of them."""

from collections.abc import Mapping, Sequence

from minialex.models.network import scaled
from minialex.shapes import positive
from minialex.words import counted

# In all blocks, and in all their kernels: more is a slip, or a file's malice.
MOST_LAYERS, MOST_NUMBERS = 250, 250 * 10**6

Reads = Mapping[str, Sequence[str]]  # for each layer and exit the sources that it reads, by name


def parse_blocks(blocks: str | Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Layers and maps of each block. Raises ValueError for what does not say that.

    >>> parse_blocks("4x12 4x24")
    [(4, 12), (4, 24)]
    """
    try:
        rows = [block.split("x") for block in blocks.split()] if isinstance(blocks, str) else list(blocks)
        if isinstance(blocks, str):
            rows = [[int(number) for number in row] for row in rows]
        if not rows:
            raise ValueError
        return [(positive(layers, "layers"), positive(maps, "maps")) for layers, maps in rows]
    except (ValueError, TypeError) as error:
        raise ValueError(
            'blocks says how many layers and maps each block has, "4x12 4x24" or ((4, 12), (4, 24)), not '
            f"{repr(blocks)[:80]}"
        ) from error


def check_size(blocks: Sequence[tuple[int, int]], stem: int, width: float) -> None:
    """Raises ValueError where blocks behind a stem of so many maps would be too much, before any is made."""
    sources, numbers = stem, 0
    for layers, maps in blocks:
        maps = scaled(min(maps, MOST_NUMBERS), width)
        numbers += 9 * maps * (layers * sources + maps * layers * (layers - 1) // 2)
        sources += layers * maps
    count = sum(layers for layers, _ in blocks)
    if count > MOST_LAYERS or numbers > MOST_NUMBERS:
        raise ValueError(
            f"blocks {spelt_blocks(blocks)[:80]!r} are too large: {counted(count, 'layer')} with {numbers:,} numbers "
            f"in their kernels; the most is {MOST_LAYERS:,} with {MOST_NUMBERS:,}"
        )


def spelt_blocks(blocks: Sequence[tuple[int, int]]) -> str:
    """The same as a text."""
    return " ".join(f"{layers}x{maps}" for layers, maps in blocks)


def parse_reads(text: str) -> dict[str, list[str]]:
    """
    >>> parse_reads("block1.layer1: stem; exit1: stem block1.layer1")
    {'block1.layer1': ['stem'], 'exit1': ['stem', 'block1.layer1']}
    """
    pairs = [part.partition(":") for part in text.split(";")]
    reads = {name.strip(): sources.split() for name, _, sources in pairs}
    if not all(colon for _, colon, _ in pairs) or len(reads) < len(pairs):
        raise ValueError(
            "reads is a text like 'block1.layer1: stem; exit1: stem block1.layer1', with each name once, not "
            f"{text[:80]!r}"
        )
    return reads


def check_reads(reads: Reads) -> None:
    """Raises TypeError for what has no sequence of names for each name."""
    if not isinstance(reads, Mapping) or not all(
        isinstance(name, str) and isinstance(sources, Sequence) and not isinstance(sources, str)
        for name, sources in reads.items()
    ):
        raise TypeError(
            "reads is a text as model.architecture has it, or {'exit1': ['stem', 'block1.layer1'], ...}, not "
            f"{repr(reads)[:80]}"
        )


def spelt_reads(reads: Reads) -> str:
    """The same as a text."""
    return "; ".join(f"{name}: {' '.join(sources)}".strip() for name, sources in reads.items())


def first_columns(reads: Reads, exits: int) -> dict[str, Sequence[str]]:
    """What the layers and exits of the first columns read."""

    def is_later(name):
        number = name.partition(".")[0].removeprefix("block").removeprefix("exit")
        return number.isdecimal() and int(number) > exits

    return {name: sources for name, sources in reads.items() if not is_later(name)}


def first_of_record(record: Mapping, exits: int) -> dict:
    """What the record of a network would say of its first exits.

    >>> first_of_record({"exits": 2, "blocks": "1x4 1x8", "reads": "exit1: stem; exit2: stem"}, 1)
    {'exits': 1, 'blocks': '1x4', 'reads': 'exit1: stem'}
    """
    reads = record.get("reads")
    if reads is not None:
        reads = spelt_reads(first_columns(parse_reads(reads), exits))
    return {
        **record,
        "exits": exits,
        "blocks": spelt_blocks(parse_blocks(record["blocks"])[:exits]),
        "reads": reads,
    }
