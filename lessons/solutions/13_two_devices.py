"""Lesson 13, Two devices: solutions."""

import numpy as np


# exercise: device_exchange_forward
def device_exchange_forward(x0, x1, send):
    y0 = np.concatenate([x0, send(x1, 0)], axis=1)  # axis 1 are the channels
    y1 = np.concatenate([send(x0, 1), x1], axis=1)
    return y0, y1


# exercise: device_exchange_backward
def device_exchange_backward(grad_y0, grad_y1, channels0, send):
    grad_x0 = grad_y0[:, :channels0] + send(grad_y1[:, :channels0], 0)  # both towers read x0
    grad_x1 = send(grad_y0[:, channels0:], 1) + grad_y1[:, channels0:]
    return grad_x0, grad_x1


# open questions
# 1. By bytes, conv3's: 173,056 of the 234,496 that cross inside the network, 74 %. Without it conv3 would have two
#    groups, 442,624 parameters instead of 885,120, and no layer before fc6 would see both towers' maps: what one tower
#    finds could not be combined with what the other finds, place by place. Without fc7's exchange 16,384 bytes (7 %)
#    are saved, and fc7 has half of its 16.8 million weights. What either costs in error nobody can say from the table.
# 2. Up to conv3 the towers hear nothing of each other: conv1 and conv2 of one tower never read the other's maps, and
#    each normalises its own 48. conv3 then reads all 256. So there is no gain in finding the same twice, and the random
#    start makes the two unlike. The paper calls it a result of the restricted connectivity. In the short training of
#    lesson 15 it does not happen: 67 % and 68 % of the kernels are colour.
# 3. Each of the four has a quarter of the maps and sends it to three others: 4 · 3/4 = 3 times all maps, where two
#    devices send 2 · 1/2 = once all. Before conv3 that is 519,168 bytes a picture instead of 173,056. With D devices it
#    is D - 1 times.
