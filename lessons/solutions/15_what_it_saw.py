"""Lesson 15, What it saw: solutions."""

import numpy as np


# exercise: distances
def distances(table, query):
    return np.sqrt(((table - table[query]) ** 2).sum(axis=1))


# exercise: differing
def differing(table, query):
    return (table != table[query]).sum(axis=1).astype(float)


# exercise: nearest
def nearest(table, queries, count, distance):
    found = []
    for query in queries:
        order = np.argsort(distance(table, query), kind="stable")
        found.append(order[order != query][:count])  # not its own neighbour
    return np.array(found)
