"""Lesson 06: how the stubs may be filled in. Try them yourself first. `slope` is the lesson's."""

import numpy as np


# exercise: numerical_gradient
def numerical_gradient(function, x, grad_y, eps):
    grad_x = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        grad_x[at] = slope(function, x, grad_y, at, eps)  # noqa: F821
    return grad_x


# exercise: test_linear
def test_linear(forward, backward):
    x, weight = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 2.0]]), np.array([[1.0, 0.0, 2.0], [-1.0, 1.0, 0.0]])
    assert (forward(x, weight, np.array([10.0, 20.0])) == [[17, 21], [14, 19]]).all()  # by hand, in lesson 05

    rng = np.random.default_rng(0)
    shapes = {"x": (4, 3), "weight": (2, 3), "bias": (2,)}  # N = 4, in = 3, out = 2
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    grad_y = rng.standard_normal((4, 2))
    for name, gradient in zip(arrays, backward(**arrays, grad_y=grad_y), strict=True):

        def of_one(array, name=name):
            return forward(**{**arrays, name: array})

        assert gradient.shape == shapes[name]
        assert np.allclose(gradient, numerical_gradient(of_one, arrays[name], grad_y, 1e-5))
    return True


# exercise: test_maxpool
def test_maxpool(forward, backward):
    x = np.array([[[[-1.0, -5.0], [-3.0, -3.0], [-6.0, -3.0]]]])
    grad_y = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    y = [[-1, -1, -3], [-1, -1, -3], [-3, -3, -3]]
    grad_x = [[1 + 2 + 4 + 5, 0], [7 + 8, 3 + 6 + 9], [0, 0]]
    found = forward(x, (3, 2), 1, 1)
    assert found.shape == (1, 1, 3, 3)
    assert (found == y).all()
    return (backward(x, (3, 2), 1, 1, grad_y) == grad_x).all()


# open questions
#
# 1. The mask. With a fresh mask in each call the two values differ by whole units, and the division by 2 *
#    1e-5 makes slopes like 41949 of it; with one mask held still, slope and backward agreed to 5e-12.
#    (mx.gradcheck does that.)
# 2. Two passes for each number make 500 numbers: some of each of the 16 arrays, as the library does. It
#    finds bugs that sit in many entries. For the rest, move a whole array at once along a random direction
#    d, and compare the slope with (gradient * d).sum(): two passes for an array. Tried on a weight of 1000
#    x 1000 of which a single entry was wrong: off by 1.8, where the right gradient was off by 9e-8. 500
#    numbers would have met it once in 2,000 tries.
# 3. One that is wrong only where there is no slope to measure: ReLU that lets grad_y pass at x = 0. 1,000
#    random numbers showed 0 bugs; at 0 the check says "kink", and that is all it can say. Or a bug that is
#    not in the numbers: a backward that writes into grad_y, which another layer still needs.
