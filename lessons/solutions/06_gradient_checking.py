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
    one, weight = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])
    by_hand = [[1 * 3 + 2 * 4 + 10, 1 * 5 + 2 * 6 + 20]]  # slopes say nothing of forward itself
    assert np.allclose(forward(one, weight, np.array([10.0, 20.0])), by_hand)
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
