"""Words of messages, and names: how many of what, what a misspelt name may have meant, which names are the same."""

import os
import re
import shlex
import subprocess
import unicodedata
from collections.abc import Iterable


def counted(number: int, what: str, several: str | None = None) -> str:
    """A number with its noun, in the singular where it is one. several: the plural, where it takes more than an s.

    >>> counted(1, "epoch"), counted(0, "epoch"), counted(60_000, "picture to train on", "pictures to train on")
    ('1 epoch', '0 epochs', '60,000 pictures to train on')
    """
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"


def a_or_an(what: str) -> str:
    """A noun with its article. By its first letter: of types' names none begins as "hour" or "unit" do.

    >>> a_or_an("int"), a_or_an("ndarray"), a_or_an("dict"), a_or_an("NDArray")
    ('an int', 'an ndarray', 'a dict', 'an NDArray')
    """
    return f"an {what}" if what[:1] in "aeioAEIO" or what.lower().startswith("nd") else f"a {what}"


def nearest(name: str, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Up to `most` of the known names that are nearly this one, the nearest first; capitals count for nothing.

    >>> nearest("papper", ["paper", "caffenet"]), nearest("ResNet-50", ["resnet50", "resnet18"])
    (['paper'], ['resnet50'])
    >>> nearest("magic", ["paper", "caffenet"])
    []
    """
    import difflib  # here: for a mistake only

    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    found = difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=cutoff)
    return [folded[one] for one in found]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """What is put behind the name in a message; "" where none is near.

    >>> did_you_mean("papper", ["paper", "bvlc"]), did_you_mean("magic", ["paper", "bvlc"])
    (' (did you mean paper?)', '')
    >>> did_you_mean(1998, ["modern", "1998"])  # a number, where a text is wanted
    ' (did you mean "1998"?)'
    """
    near = nearest(str(name), known)
    meant = near and (near[0] if isinstance(name, str) else f'"{near[0]}"')
    return f" (did you mean {meant}?)" if near else ""


WNID = re.compile(r"n\d{8}")  # WordNet's number of a noun, by which ImageNet names its folders


def same_spelling(name: str) -> str:
    """One spelling of a name: macOS may write an accent apart from its letter."""
    return unicodedata.normalize("NFC", name)


def names_of_class(name: str) -> tuple[str, ...]:
    """What a trained class may be called: its line, and the wnid that it begins with.

    >>> names_of_class("n01440764 tench, Tinca tinca")
    ('n01440764 tench, Tinca tinca', 'n01440764')
    """
    line, first = same_spelling(name), name.split(maxsplit=1)[0] if name.split() else name
    return (line, first) if WNID.fullmatch(first) and first != name else (line,)


def are_same(one: list[str], other: list[str]) -> bool:
    """Are these the same classes in the same order?

    >>> are_same(["n01440764 tench, Tinca tinca", "cat"], ["n01440764", "cat"])
    True
    """
    return len(one) == len(other) and all(
        set(names_of_class(a)) & set(names_of_class(b)) for a, b in zip(one, other, strict=True)
    )


def typed(*words: object) -> str:
    """A line for a shell, with quotes where one of the words needs them; on Windows, its own.

    >>> typed("python", "my programs/one.py")
    "python 'my programs/one.py'"
    """
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def check_choice(value: object, known: Iterable[str], what: str) -> None:
    """Raise ValueError unless the value is one of the known names.

    >>> check_choice("modren", ["modern", "1998", "keras"], "variant")
    Traceback (most recent call last):
    ValueError: unknown variant 'modren' (did you mean modern?): use modern, 1998, keras
    """
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"unknown {what} {value!r}{did_you_mean(value, known)}: use {', '.join(known)}")


def is_one_of(value: object, known: Iterable) -> bool:
    """Is it in there? A list or an array is not: `in` would ask an array's entries, and a dict fail on both.

    >>> is_one_of(18, {18: "basic"}), is_one_of([18], {18: "basic"})
    (True, False)
    """
    try:
        hash(value)
    except TypeError:
        return False
    return value in known


def yes_or_no(value: bool, name: str) -> bool:
    """`value` as a bool. A text is none: "False" would count as true.

    >>> yes_or_no("no", "MaxPool2D: ceil_mode")
    Traceback (most recent call last):
    ValueError: MaxPool2D: ceil_mode must be True or False, not 'no'
    """
    if isinstance(value, str) or getattr(value, "ndim", 0) or value not in (0, 1):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def as_duration(seconds: float) -> str:
    """A time that is known to two digits.

    >>> as_duration(0.4), as_duration(47), as_duration(200), as_duration(9_000), as_duration(400_000)
    ('1 s', '47 s', '3.3 min', '2.5 h', '4.6 days')
    """
    for unit, most, size in (("s", 100, 1), ("min", 100, 60), ("h", 48, 3600)):
        if seconds < most * size:
            return f"{_two_digits(max(1, seconds) / size)} {unit}"
    return f"{_two_digits(seconds / 86400)} days"


def as_bytes(number: float) -> str:
    """An amount of memory, known to two digits.

    >>> as_bytes(340e6), as_bytes(1.84e9), as_bytes(23.4e9)
    ('340 MB', '1.8 GB', '23 GB')
    """
    return f"{_two_digits(number / 1e9)} GB" if number >= 1e9 else f"{_two_digits(number / 1e6)} MB"


def _two_digits(number: float) -> str:
    if number >= 100:
        return f"{round(number, -1):,.0f}"
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}".removesuffix(".0")
