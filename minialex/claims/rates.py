"""Which learning rate an arm gets: the best of a grid, on held-out pictures, with better neighbours nowhere."""

import math


def wanted(tried: dict[float, float], grid: list[float], begin: float) -> list[float]:
    """The rates that are to be tried next; none when the best has a neighbour on each side that was tried.

    tried: outcome by rate, less is better. It begins with three rates, and goes on where the best is at an edge. At an
    end of the grid it stops: whoever asks for the choice is told. While no rate has arrived (all are nan) nothing says
    on which side one will, and it goes on at both.

    >>> grid = [0.001, 0.003, 0.01, 0.03, 0.1]
    >>> wanted({}, grid, begin=0.01)
    [0.003, 0.01, 0.03]
    >>> wanted({0.003: 50.0, 0.01: 40.0, 0.03: 30.0}, grid, begin=0.01)
    [0.1]
    """
    at = grid.index(begin)
    if missing := [rate for rate in grid[at - 1 : at + 2] if rate not in tried]:
        return missing  # of the first three, whatever of them is there already
    if all(map(math.isnan, tried.values())):
        ends = [grid.index(rate) for rate in (min(tried), max(tried))]
        return [grid[near] for near in (ends[0] - 1, ends[1] + 1) if 0 <= near < len(grid)]
    at = grid.index(chosen(tried))
    return [grid[near] for near in (at - 1, at + 1) if 0 <= near < len(grid) and grid[near] not in tried]


def chosen(tried: dict[float, float]) -> float:
    """The best rate; of equals the smallest. What never arrived (nan) is worse than all.

    >>> chosen({0.1: 4.0, 0.3: math.nan, 0.03: 4.0})
    0.03
    """
    return min(sorted(tried), key=lambda rate: math.inf if math.isnan(tried[rate]) else tried[rate])


def at_the_edge(rate: float, grid: list[float]) -> bool:
    """The grid ends at this rate, so that a better one may lie beyond."""
    return rate in (grid[0], grid[-1])
