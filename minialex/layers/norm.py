"""Local response normalisation across neighbouring channels (Krizhevsky et al. 2012, section 3.3)."""

from minialex.layers.layer import Array, Layer
from minialex.shapes import positive


class LocalResponseNorm(Layer):
    """y[c] = x[c] / scale[c]^beta, scale[c] = k + alpha * sum of x[d]^2 over the `size` channels d around c

    The window of c runs from c - size//2 to c + size//2, cut off at the first and the last channel; with groups, at
    the ends of c's group, as when each GPU normalises its own maps. alpha is the paper's: it is not divided by size
    (PyTorch, Caffe and the released code of 2012 divide it).

    Shapes: x and y (N, C, H, W).
    Raises ValueError for an even size, or when groups do not divide the channels.

    The gradient: y[c] depends on x[c] directly, and through every scale in whose window x[c] lies:
        grad_x[c] = grad_y[c] scale[c]^-beta
                    - 2 alpha beta x[c] * sum over d around c of grad_y[d] x[d] scale[d]^(-beta - 1)

    >>> layer = LocalResponseNorm(size=3, alpha=1.0, beta=0.5, k=0.0)
    >>> layer.forward(np.array([3.0, 4.0, 0.0]).reshape(1, 3, 1, 1)).ravel()
    array([0.6, 0.8, 0. ])
    """

    input_rank = 4

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, groups: int = 1
    ):
        self.size = positive(size, "size")
        if size % 2 == 0:
            raise ValueError(
                f"LocalResponseNorm: size {size} is even, the window would have no middle; use {size - 1} or {size + 1}"
            )
        self.groups = positive(groups, "groups")
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x: Array) -> Array:
        scale = self.k + self.alpha * self._sum_of_neighbours(x * x)
        self.save(x=x, scale=scale)
        return x * scale**-self.beta

    def backward(self, grad_y: Array) -> Array:
        x, scale = self.saved.x, self.saved.scale
        power = scale**-self.beta
        through_scale = self._sum_of_neighbours(grad_y * x * power / scale)
        return grad_y * power - 2 * self.alpha * self.beta * x * through_scale

    def _sum_of_neighbours(self, x):
        """Each channel replaced by the sum of the channels around it; its own adjoint, as the windows are symmetric."""
        N, C, H, W = x.shape
        x = x.reshape(N, self.groups, C // self.groups, H, W)
        total = x.copy(order="K")
        for distance in range(1, self.size // 2 + 1):
            total[:, :, distance:] += x[:, :, :-distance]
            total[:, :, :-distance] += x[:, :, distance:]
        return total.reshape(N, C, H, W)

    def check_input(self, x):
        super().check_input(x)
        if x.shape[1] % self.groups:
            raise ValueError(
                f"{self}: {self.groups} groups must divide the {x.shape[1]} channels of {x.shape}"
            )
