"""Lesson 12, AlexNet by its table: solutions."""


# exercise: conv_counts
def conv_counts(side, channels, maps, kernel, stride, padding, groups):
    places = 1 + (side + 2 * padding - kernel) // stride  # on a side
    weights = maps * (channels // groups) * kernel * kernel
    return places, weights + maps, weights * places * places


# exercise: table
def table(layers, side, channels, count_one):
    rows = []
    for name, maps, kernel, stride, padding, groups in layers:
        if maps is None:  # a pool: as many maps as it reads, and no weights
            side, _, _ = count_one(side, channels, channels, kernel, stride, padding, groups)
            rows.append((name, side, 0, 0))
        else:
            side, parameters, macs = count_one(side, channels, maps, kernel, stride, padding, groups)
            channels = maps
            rows.append((name, side, parameters, macs))
    return rows


# open questions
# 1. fc6 then has 4096·256 weights and 4,096 biases: 1,052,672 parameters instead of 37,752,832. The network has
#    24,265,064 parameters and 687,706,656 multiply-adds: 60 % fewer parameters for 5 % less work. Network in Network
#    (2013) did it at the end of the network, and GoogLeNet and ResNet after it, each with one linear layer left: there
#    it would be fc8 alone, on 256 numbers, with 257,000 parameters.
# 2. Those that count no multiply-adds and yet read and write much: normalisation, pooling, ReLU, and the update of the
#    weights. Measured on two cores, batch 64, forward and backward (layers-alexnet-cpu-2026-11-22.json in
#    examples/results): norm1 takes 113 of 1,960 ms, pool1 85, the update 81, with 0 multiply-adds each. conv2 has
#    31 % of the multiply-adds and 22 % of the time. On one H200, batch 128, norm1 takes 1.1 of 19.9 ms.
