"""A third hint for checks that serve two exercises: first in loops, then the same without loops over pixels."""

WITHOUT_LOOPS: dict[str, str] = {
    "conv2d_forward": (
        "Without loops: with `columns` (N, C*kh*kw, OH*OW), as im2col makes them of the padded picture, "
        "`weight.reshape(F, -1) @ columns` is (N, F, OH*OW), one product for all N pictures. Reshape it to "
        "(N, F, OH, OW); the bias goes along the maps: `bias[:, None, None]`."
    ),
    "conv2d_backward": (
        "Without loops: `rows = grad_y.reshape(N, F, OH*OW)`. Of N pictures the columns are a stack: instead of "
        "columns.T, which turns all three axes, write `columns.transpose(0, 2, 1)`. `rows @ columns.transpose(0, 2, "
        "1)` is (N, F, C*kh*kw), one a picture; `.sum(axis=0)` adds the pictures up, `.reshape(weight.shape)` makes "
        "grad_weight of it. The way back to x: `weight.reshape(F, -1).T @ rows` are columns again; col2im puts them "
        "into the padded picture, then the padding is cut off."
    ),
    "maxpool_backward": (
        "Without loops over pixels: one slice for each cell (a, b) of a window, in the order row by row: "
        "`padded[:, :, a : a + stride*OH : stride, b : b + stride*OW : stride]`, (N, C, OH, OW). "
        "`winner = np.stack(slices).argmax(axis=0)` is the number of the cell that won, the first of equals. Then, "
        "cell by cell, `grad_padded[the same slice] += grad_y * (winner == number)`: += since windows overlap."
    ),
}
