"""Activation functions, element by element: ReLU, sigmoid, and the hyperbolic tangent. Any shape goes."""

from minialex.layers.layer import Array, Layer
from minialex.layers.settings import finite


def not_zero(value: float, name: str) -> float:
    if finite(value, name) == 0:
        raise ValueError(f"{name} must not be 0: everything would be")
    return float(value)


class ReLU(Layer):
    """y = max(x, 0); its derivative is 1 above 0, and 0 at and below it (and where x is not a number: y is NaN then)

    (Nair and Hinton 2010; Krizhevsky et al. 2012, section 3.1.)

    >>> ReLU().forward(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """

    def forward(self, x: Array) -> Array:
        mask = x > 0
        self.save(mask=mask)
        return self.xp.maximum(x, 0)

    def backward(self, grad_y: Array) -> Array:
        return self.xp.where(self.saved.mask, grad_y, 0)


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)); its derivative is y (1 - y)

    Computed from exp(-|x|), which cannot overflow.

    >>> Sigmoid().forward(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """

    def forward(self, x: Array) -> Array:
        small = self.xp.exp(-abs(x))  # exp(-|x|), between 0 and 1
        y = self.xp.where(x >= 0, 1, small) / (1 + small)
        self.save(y=y)
        return y

    def backward(self, grad_y: Array) -> Array:
        y = self.saved.y
        slope = y * (1 - y)
        return grad_y * slope


class Tanh(Layer):
    """y = scale * tanh(slope * x), the hyperbolic tangent; its derivative is slope * (scale - y^2 / scale)

    LeNet-5's has scale 1.7159 and slope 2/3 (LeCun et al. 1998, appendix A): then f(1) = 1 and f(-1) = -1.
    Raises ValueError for a scale of 0, which would make everything 0.

    >>> Tanh(scale=1.7159, slope=2 / 3).forward(np.array([-1.0, 0.0, 1.0])).round(3)
    array([-1.,  0.,  1.])
    """

    takes = {"scale": not_zero, "slope": finite}

    def __init__(self, scale: float = 1.0, slope: float = 1.0):
        self.scale, self.slope = scale, slope

    def forward(self, x: Array) -> Array:
        y = self.scale * self.xp.tanh(self.slope * x)
        self.save(y=y)
        return y

    def backward(self, grad_y: Array) -> Array:
        y = self.saved.y
        slope = self.slope * (self.scale - y * y / self.scale)
        return grad_y * slope
