"""Lesson 12, AlexNet by its table: a solution."""


# exercise: conv_counts
def conv_counts(side, channels, maps, kernel, stride, padding, groups):
    places = 1 + (side + 2 * padding - kernel) // stride  # on a side
    weights = maps * (channels // groups) * kernel * kernel
    return places, weights + maps, weights * places * places
