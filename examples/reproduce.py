"""What the papers claim, run here: an experiment by its name, judged by a protocol that was written before.

    python examples/reproduce.py                          the experiments, and what each has found so far
    python examples/reproduce.py overlap                  all of one, side by side on the cores there are; hours
    python examples/reproduce.py overlap --quick          300 pictures, two seeds: does it run? in a minute

Each run that has ended is kept; started again, the program goes on with those that have not. Nothing is judged before
all are there. The protocol, what each run gave, the verdict and the figure are in examples/results/NAME.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from minialex import claims, plot
from minialex.study.benchmarks import command_line
from minialex.training.command_line import Parser, as_path, friendly, whole_number
from minialex.training.lock import locked
from minialex.weights import write_whole
from minialex.words import check_choice, counted

ALL = "verdicts.png"
RESULTS = Path(__file__).resolve().parent / "results"


def parse_arguments(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help=", ".join(claims.EXPERIMENTS))
    add("--quick", action="store_true", help="a minute: 300 pictures, 2 epochs, 2 seeds; judges nothing")
    add(
        "--seeds",
        type=whole_number(2),
        metavar="N",
        help="the first N alone; it is judged when all are there",
    )
    add("--output-dir", type=as_path, help="default: examples/results/NAME; with --quick, runs/quick/NAME")
    add("--processes", type=whole_number(1), metavar="N", help="runs side by side (default: the cores)")
    return parser.parse_args(argv)


def reproduce(args) -> None:
    """One experiment, from where it was left."""
    p = claims.Protocol.read(RESULTS / args.name / claims.PROTOCOL)
    seeds = args.seeds or p.seeds
    if seeds > p.seeds:
        raise ValueError(f"--seeds {seeds}: the protocol of {args.name} has {p.seeds}, and was there first")
    if args.quick:
        p = claims.quick_version(p)
        seeds = p.seeds
    folder = args.output_dir or (Path("runs/quick") / args.name if args.quick else RESULTS / args.name)
    experiment = claims.EXPERIMENTS[args.name](p)
    claims.check_fits(p, experiment.primary)
    for said in claims.check_data(experiment):
        print(said)
    print(
        f"{args.name}: {counted(len(experiment.arms), 'arm')} of {seeds} seeds, after runs that choose their rates. "
        f"What has ended is kept in {folder}" + (".\n" if args.quick else "; hours, or --quick.\n"),
        flush=True,
    )
    sums = claims.sums_of(experiment)
    claims.student_t(seeds)  # what the verdict will need, before hours are spent
    with locked(folder):
        claims.check_protocol(p, folder)
        claims.check_pictures(sums, folder)
        store = claims.Store(folder)
        store.check_settings({name: arm.digest for name, arm in experiment.arms.items()})
        before = claims.read_result(folder)
        if before and before["finished"]:
            seeds = p.seeds  # what was judged stays judged
        write_whole(folder / claims.PROTOCOL, (RESULTS / args.name / claims.PROTOCOL).read_bytes())
        others = [] if args.quick else claims.stores_beside(folder, RESULTS, sums)

        def record(paces=None):
            beside = len(claims.all_results(RESULTS))
            found = claims.result_of(
                p, experiment, store, seeds, command_line("reproduce.py"), args.quick, beside, paces
            )
            claims.write_result(folder, {**found, "pictures": sums})
            return found

        record((before or {}).get("seconds_an_epoch"))  # from here on the protocol stays as it is
        claims.run(p, experiment, store, others, seeds, args.processes, tqdm)
        found = record(paces_of(args, experiment, before, all_of_it=seeds == p.seeds))
        changed = []
        if found["finished"] and folder.resolve() == (RESULTS / args.name).resolve():
            changed = claims.raise_for_all(RESULTS)  # others' verdicts as well
            plot.verdicts(claims.all_results(RESULTS), path=RESULTS / ALL)
            found = claims.read_result(folder)
        if found["mean"] is not None:
            draw(folder, found)
    for name in changed:
        if name != args.name:
            draw(RESULTS / name, claims.read_result(RESULTS / name))
    if found["mean"] is not None:
        print(f"Its figure is {folder / claims.FIGURE}")
    print(claims.in_a_line(found))


def paces_of(args, experiment, before, all_of_it):
    """How long an epoch takes, where it is told: once, since a result stays what it is."""
    primary = experiment.primary
    if not all_of_it or not claims.asks_for_seconds(primary):
        return None
    arms = {name: experiment.arms[name] for name in primary.arms}
    known = (before or {}).get("seconds_an_epoch") or {}
    if set(known) == set(arms):
        return known
    return claims.paces_of(arms, rounds=2, seconds=0.05) if args.quick else claims.paces_of(arms)


def draw(folder, found) -> None:
    """The figure says the verdict, so it is drawn when that has changed."""
    plot.claim(found, claims.Store(folder).curves, path=folder / claims.FIGURE)


def main(argv=None):
    args = parse_arguments(argv)
    if args.name is None:
        if args != parse_arguments([]):
            raise ValueError(f"which one? {', '.join(claims.EXPERIMENTS)}")
        print(claims.table_of(RESULTS))
        return
    check_choice(args.name, claims.EXPERIMENTS, "experiment")
    reproduce(args)


if __name__ == "__main__":
    friendly(main)
