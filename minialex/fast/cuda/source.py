"""The kernels' text, in CUDA C. Real, Index and Cell are types that kernels.py chooses when it has it compiled."""

SOURCE = """
#define EACH(e, count) \\
    for (Index e = blockIdx.x * (Index)blockDim.x + threadIdx.x; e < count; e += gridDim.x * (Index)blockDim.x)

// kernel kh x kw, stride sh x sw and padding ph x pw on (C, H, W, N) give (C, OH, OW, N)
#define GEOMETRY Index H, Index W, Index N, Index kh, Index kw, Index sh, Index sw, Index ph, Index pw, \\
    Index OH, Index OW

// The windows p that hold pixel h, and its row i in each. From the last one up, as the layers add them.
#define EACH_WINDOW(p, i, h, k, s, pad, O) \\
    for (Index p = (h + pad) / s < O ? (h + pad) / s : O - 1, i = h + pad - p * s; p >= 0 && i < k; p--, i += s)

// One thread for each window (c, p, q, n): it copies the window's kh x kw pixels.
extern "C" __global__ void im2col(const Real* x, Real* columns, Index count, GEOMETRY) {
    EACH(e, count) {
        Index n = e % N, q = e / N % OW, p = e / N / OW % OH, c = e / N / OW / OH;
        Index M = OH * OW * N;
        Real* to = columns + c * kh * kw * M + e % M;
        for (Index i = 0; i < kh; i++)
            for (Index j = 0; j < kw; j++, to += M) {
                Index h = p * sh + i - ph, w = q * sw + j - pw;
                bool inside = h >= 0 && h < H && w >= 0 && w < W;
                *to = inside ? x[((c * H + h) * W + w) * N + n] : (Real)0;
            }
    }
}

// One thread for each pixel (c, h, w, n): it sums over the windows that hold it.
extern "C" __global__ void col2im(const Real* columns, Real* x, Index count, GEOMETRY) {
    EACH(e, count) {
        Index n = e % N, w = e / N % W, h = e / N / W % H, c = e / N / W / H;
        Real sum = 0;
        EACH_WINDOW(p, i, h, kh, sh, ph, OH)
            EACH_WINDOW(q, j, w, kw, sw, pw, OW)
                sum += columns[((((c * kh + i) * kw + j) * OH + p) * OW + q) * N + n];
        x[e] = sum;
    }
}

// One thread for each window.
extern "C" __global__ void max_pool(const Real* x, Real* y, Cell* winner, Index count, GEOMETRY) {
    EACH(e, count) {
        Index n = e % N, q = e / N % OW, p = e / N / OW % OH, c = e / N / OW / OH;
        Real largest = 0;
        Index won = -1;
        for (Index i = 0; i < kh; i++)
            for (Index j = 0; j < kw; j++) {
                Index h = p * sh + i - ph, w = q * sw + j - pw;
                if (h < 0 || h >= H || w < 0 || w >= W)
                    continue;
                Real pixel = x[((c * H + h) * W + w) * N + n];
                bool first_nan = pixel != pixel && largest == largest;
                if (won < 0 || pixel > largest || first_nan) {  // and not equal: the first one keeps a tie
                    largest = pixel;
                    won = i * kw + j;
                }
            }
        y[e] = largest;
        winner[e] = (Cell)won;
    }
}

// One thread for each pixel: it sums over the windows that it won.
extern "C" __global__ void max_pool_backward(
        const Real* grad_y, const Cell* winner, Real* grad_x, Index count, GEOMETRY) {
    EACH(e, count) {
        Index n = e % N, w = e / N % W, h = e / N / W % H, c = e / N / W / H;
        Real sum = 0;
        EACH_WINDOW(p, i, h, kh, sh, ph, OH)
            EACH_WINDOW(q, j, w, kw, sw, pw, OW) {
                Index window = ((c * OH + p) * OW + q) * N + n;
                if (winner[window] == i * kw + j)
                    sum += grad_y[window];
            }
        grad_x[e] = sum;
    }
}

// One thread for each number. It is in channel c of the C of its group; the same place in channel c + d lies d * M
// numbers away.
#define EACH_NEIGHBOUR(d, c, C, reach) \\
    for (Index d = c < reach ? -c : -reach; d <= reach && c + d < C; d++)

// Squares of numbers that a Real can hold may be too large for it, or too small. So the scale's fourth root is kept,
// and half = scale^(-beta / 2) multiplies twice: no number on the way leaves a Real's range unless the result does.
extern "C" __global__ void lrn(
        const Real* x, Real* y, Real* fourth_root, Index count, Index M, Index C, Index reach,
        Real alpha, Real beta, Real k) {
    EACH(e, count) {
        Index c = e / M % C;
        double sum = 0;
        EACH_NEIGHBOUR(d, c, C, reach)
            sum += (double)x[e + d * M] * x[e + d * M];
        fourth_root[e] = (Real)sqrt(sqrt(k + alpha * sum));
        Real half = pow(fourth_root[e], -2 * beta);
        y[e] = x[e] * half * half;
    }
}

// Backward in two steps. First what each number sends to its neighbours, which all of them read: the powers are worked
// out once. grad_x becomes the direct part, `sent` is grad_y scale^-beta root(alpha) x / root(scale), and `inverse`
// 1 / root(scale); root(alpha) stands in both factors of a product, which are at most 1 then, and as large as grad_y.
extern "C" __global__ void lrn_send(
        const Real* grad_y, const Real* x, const Real* fourth_root, Real* grad_x, Real* sent, Real* inverse,
        Index count, Real root_alpha, Real beta) {
    EACH(e, count) {
        Real r = fourth_root[e], half = pow(r, -2 * beta);
        grad_x[e] = grad_y[e] * half * half;
        sent[e] = grad_x[e] * (root_alpha * (x[e] / r / r));
        inverse[e] = 1 / r;
    }
}

extern "C" __global__ void lrn_gather(
        const Real* x, const Real* sent, const Real* inverse, Real* grad_x, Index count, Index M, Index C,
        Index reach, Real root_alpha, Real twice_beta) {
    EACH(e, count) {
        Index c = e / M % C;
        Real through_scale = 0;
        EACH_NEIGHBOUR(d, c, C, reach) {
            Real i = inverse[e + d * M];
            through_scale += sent[e + d * M] * (root_alpha * (x[e] * i * i));
        }
        grad_x[e] -= twice_beta * through_scale;
    }
}

// Batch normalisation. A channel is a row of M numbers, which T threads share in its sums: thread t takes the numbers
// t, t + T, ... of it and gives one part of the sum.
#define PARTS(e, i, T, M) \\
    for (Index i = e / T * M + e % T, end = (e / T + 1) * M; i < end; i += T)

extern "C" __global__ void channel_sums(const Real* x, Real* sums, Index count, Index M, Index T) {
    EACH(e, count) {
        double sum = 0;
        PARTS(e, i, T, M)
            sum += x[i];
        sums[e] = (Real)sum;
    }
}

extern "C" __global__ void channel_squares(
        const Real* x, const Real* mean, Real* sums, Index count, Index M, Index T) {
    EACH(e, count) {
        Real m = mean[e / T];
        double sum = 0;
        PARTS(e, i, T, M)
            sum += (x[i] - m) * (x[i] - m);
        sums[e] = (Real)sum;
    }
}

extern "C" __global__ void channel_normalise(
        const Real* x, const Real* mean, const Real* scale, const Real* weight, const Real* bias, Real* y,
        Index count, Index M) {
    EACH(e, count) {
        Index c = e / M;
        y[e] = weight[c] * ((x[e] - mean[c]) * scale[c]) + bias[c];
    }
}

// Four sums over each channel, one behind the other: of grad_y, of it times the normalised x, and of both with the
// weight.
extern "C" __global__ void channel_products(
        const Real* grad_y, const Real* x, const Real* mean, const Real* scale, const Real* weight, Real* sums,
        Index count, Index M, Index T) {
    EACH(e, count) {
        Index c = e / T;
        double g = 0, gn = 0, wg = 0, wgn = 0;
        PARTS(e, i, T, M) {
            Real normalised = (x[i] - mean[c]) * scale[c], weighted = weight[c] * grad_y[i];
            g += grad_y[i];
            gn += grad_y[i] * normalised;
            wg += weighted;
            wgn += weighted * normalised;
        }
        sums[e] = (Real)g;
        sums[e + count] = (Real)gn;
        sums[e + 2 * count] = (Real)wg;
        sums[e + 3 * count] = (Real)wgn;
    }
}

extern "C" __global__ void channel_gradient(
        const Real* grad_y, const Real* x, const Real* mean, const Real* scale, const Real* weight,
        const Real* through_mean, const Real* through_variance, Real* grad_x, Index count, Index M, Index of_batch) {
    EACH(e, count) {
        Index c = e / M;
        Real grad = weight[c] * grad_y[e];
        if (of_batch)
            grad -= through_mean[c] + (x[e] - mean[c]) * scale[c] * through_variance[c];
        grad_x[e] = grad * scale[c];
    }
}

// One thread for each number. A NaN is passed on, and has no gradient.
extern "C" __global__ void relu(const Real* x, Real* y, Index count) {
    EACH(e, count)
        y[e] = x[e] <= 0 ? (Real)0 : x[e];
}

extern "C" __global__ void relu_backward(const Real* grad_y, const Real* y, Real* grad_x, Index count) {
    EACH(e, count)
        grad_x[e] = y[e] > 0 ? grad_y[e] : (Real)0;
}

// One thread for each weight.
extern "C" __global__ void sgd(Real* w, Real* v, const Real* grad, Index count, Real lr, Real momentum, Real decay) {
    EACH(e, count) {
        Real velocity = momentum * v[e];
        if (decay != 0)
            velocity -= decay * w[e];
        velocity -= lr * grad[e];
        v[e] = velocity;
        w[e] += velocity;
    }
}
"""
