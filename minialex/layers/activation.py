"""Activation functions, element by element: ReLU, sigmoid, and the hyperbolic tangent. Any shape goes."""

from minialex.layers.layer import Array, Layer


class ReLU(Layer):
    """y = max(x, 0); its derivative is 1 above 0, and 0 at and below it

    (Nair and Hinton 2010; Krizhevsky et al. 2012, section 3.1.)

    >>> ReLU().forward(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """

    def forward(self, x: Array) -> Array:
        y = self.xp.maximum(x, 0, out=self.device.empty_like(x))
        self.save(y=y)
        return y

    def backward(self, grad_y: Array) -> Array:
        return self.xp.multiply(grad_y, self.saved.y > 0, out=self.device.empty_like(grad_y))


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
        return grad_y * y * (1 - y)


class Tanh(Layer):
    """y = scale * tanh(slope * x), the hyperbolic tangent; its derivative is slope * (scale - y^2 / scale)

    LeNet-5's has scale 1.7159 and slope 2/3 (LeCun et al. 1998, appendix A): then f(1) = 1 and f(-1) = -1.
    Raises ValueError for a scale of 0, which would make everything 0.

    >>> Tanh(scale=1.7159, slope=2 / 3).forward(np.array([-1.0, 0.0, 1.0])).round(3)
    array([-1.,  0.,  1.])
    """

    def __init__(self, scale: float = 1.0, slope: float = 1.0):
        if scale == 0:
            raise ValueError("Tanh: scale must not be 0")
        self.scale = float(scale)  # a NumPy number would make float32 arrays float64
        self.slope = float(slope)

    def forward(self, x: Array) -> Array:
        y = self.xp.tanh(x if self.slope == 1 else self.slope * x, out=self.device.empty_like(x))
        if self.scale != 1:
            y *= self.scale
        self.save(y=y)
        return y

    def backward(self, grad_y: Array) -> Array:
        y = self.saved.y
        grad_x = self.xp.multiply(y, y, out=self.device.empty_like(y))  # in place from here on
        self.xp.subtract(self.scale**2, grad_x, out=grad_x)
        if self.slope != self.scale:
            grad_x *= self.slope / self.scale  # the derivative
        grad_x *= grad_y
        return grad_x
