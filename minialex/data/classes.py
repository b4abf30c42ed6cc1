"""Labels belong to names: which output of a network is which class, whatever order or part of the names one meets.

A network knows its classes by the order in which it was trained on them. Folders know them by their names. Nothing
here takes a class's place in one list for its place in another.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from minialex.errors import DataError
from minialex.weights.reading import read_lines
from minialex.words import are_same, counted, names_of_class, same_spelling


def numbers_in(trained: list[str], names: list[str], where) -> np.ndarray:
    """For each name, which of the trained classes it is: int64. Any part of the trained names will do, in any order.

    trained: in the network's order. One that reads `n01440764 tench, Tinca tinca` is the class n01440764 as well.
    where: what has the names, for the message. Raises DataError for a name that was not trained, or is there twice.

    >>> numbers_in(["cat", "dog", "fish"], ["fish", "cat"], "val/").tolist()
    [2, 0]
    """
    keys = [names_of_class(name) for name in trained]
    count = Counter(key for both in keys for key in both)
    number = {key: i for i, both in enumerate(keys) for key in both}
    wanted = [same_spelling(name) for name in names]
    if unknown := [name for name, key in zip(names, wanted, strict=True) if key not in number]:
        raise DataError(
            f"{where} has {len(unknown)} of {counted(len(names), 'class', 'classes')} that the network was "
            f"not trained on: {a_few(unknown)}. It was trained on {len(trained)}, {a_few(trained)}; "
            f"{where} has {a_few(names)}"
        )
    if twice := [name for name, key in zip(names, wanted, strict=True) if count[key] > 1]:
        raise DataError(
            f"{a_few(twice)}: the network has {count[same_spelling(twice[0])]} classes of this name, so {where} does "
            "not say which is meant; name classes by what is theirs alone, WordNet's ids say"
        )
    return np.array([number[key] for key in wanted], dtype=np.int64)


def check_classes(model, batches) -> None:
    """Raises DataError where a model and its pictures both say their classes, and not the same ones in one order."""
    known = getattr(model, "classes", None)
    found = getattr(getattr(batches, "pictures", None), "classes", None)
    if known is not None and found is not None and not are_same(list(known), list(found)):
        raise DataError(
            f"the model's classes are {a_few(list(known))}, the pictures' {a_few(list(found))}: "
            f"{differences(list(known), list(found))}. A label would mean one to the model, another to the pictures. "
            "To test it, find_pictures(..., trained=model.classes); to train it for others, begin with a new last "
            "layer, and set model.classes"
        )


def differences(known: list[str], found: list[str]) -> str:
    """Which names are in one list alone, for messages; long lists may begin alike."""
    lost = [name for name in known if name not in set(found)]
    new = [name for name in found if name not in set(known)]
    parts = [f"only the first has {a_few(lost)}"] if lost else []
    parts += [f"only the second has {a_few(new)}"] if new else []
    return "; ".join(parts) or "they are in another order"


def read_names(path, count: int) -> list[str]:
    """The lines of a text file, one for each class, in the network's order.

    Raises ValueError when they are not as many as the classes, or one is empty.
    """
    names = [line.strip() for line in read_lines(path)]
    if len(names) != count:
        raise ValueError(
            f"{path} has {counted(len(names), 'name')}, the network "
            f"{counted(count, 'class', 'classes')}: one a line is needed"
        )
    if "" in names:
        raise ValueError(f"{path}, line {names.index('') + 1}, is empty: a name is needed on each line")
    return names


def reorder(names: list[str], trained: list[str], path) -> list[str]:
    """Lines of a file, of a name or of a name and more words, in the order of the names that a network knows.

    Raises ValueError unless each of the network's classes has one line.

    >>> reorder(["dog Hund", "cat Katze"], ["cat", "dog"], "names.txt")
    ['cat Katze', 'dog Hund']
    """
    known = {same_spelling(name) for name in trained}
    line_of = {key if (key := same_spelling(name)) in known else key.split()[0]: name for name in names}
    if len(names) != len(trained) or set(line_of) != known:
        raise ValueError(
            f"{path} names other classes ({a_few(names)}) than the network was trained on ({a_few(trained)}): "
            "leave it out, or let each line begin with one of those"
        )
    return [line_of[same_spelling(name)] for name in trained]


def index_map(names: list[str]) -> str:
    """ "0 = 0, 1 = 1, 2 = 10, ...": which label each has, where the names are other numbers; else nothing.

    Folders called 0 ... 11 are sorted as texts, as torchvision sorts them.

    >>> index_map(["0", "1", "10", "2"])
    '0 = 0, 1 = 1, 2 = 10, 3 = 2'
    """
    if all(name.isdecimal() for name in names) and [*map(str, range(len(names)))] != names:
        return ", ".join(f"{i} = {name}" for i, name in enumerate(names))
    return ""


def first_words(trained: Iterable[str]) -> list[str]:
    """What folders of these classes are called: a line's wnid, where it begins with one, else the line."""
    return [names_of_class(name)[-1] for name in trained]


def a_few(names: list[str], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
