"""The lessons, to a folder of your own: notebooks, solutions, and the programs and results that they name."""

import importlib.util
from pathlib import Path

from minialex.commands.share import files_of, hand_out
from minialex.words import counted, typed

NEEDED = ("jupyterlab", "ipywidgets", "hypothesis")  # what minialex[lessons] brings


def add_options(parser) -> None:
    parser.add_argument(
        "folder", type=Path, help="a new or an empty one; nothing that is there is written over"
    )


def run(args) -> int:
    lessons = files_of("lessons")
    examples = {f"examples/{name}": path for name, path in files_of("examples").items()}
    written = hand_out({**lessons, **examples}, args.folder, "lessons")
    count = counted(sum(name.endswith(".ipynb") for name in lessons), "lesson")
    if written:
        print(f"{count} are in {args.folder}, with their solutions and the examples that they name. Next:\n")
    else:
        print(f"{count} were in {args.folder} already, with all that belongs to them. Next:\n")
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        print('  pip install "minialex[lessons]"')
    print(f"  {typed('jupyter', 'lab', args.folder)}")
    return 0
