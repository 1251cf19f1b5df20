"""Padding and upsampling: against NumPy's padding and dense matrices, and the identities of their gradients."""

import numpy as np
import pytest
from geometries import DTYPES, NUMPYS, integers, normals
from laws import ROUNDOFF, assert_adjoint

from fastconv import ops
from fastconv.geometry.resampling import padded_axis, resized_axis

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
every_mode = pytest.mark.parametrize("mode", NUMPYS)

# x, and (before, after) of each dimension; channels that fill no vector, one, and several with a rest.
PADDED = (
    ((2, 3, 7), ((1, 4),)), ((1, 21, 5, 6), ((2, 0), (1, 3))), ((2, 1, 4, 5), ((0, 3), (3, 2))), ((1, 2, 3, 4, 2), ((1, 2), (0, 3), (1, 1))),
    ((0, 2, 3, 4), ((1, 1), (1, 1))),
)  # fmt: skip

# x, size, mode: larger, smaller, by whole factors and not, a single pixel.
RESIZED = (
    ((2, 3, 5), (10,), "nearest"), ((1, 21, 4, 3), (8, 9), "nearest"), ((1, 2, 3, 4, 5), (2, 9, 5), "nearest"), ((1, 3, 7), (3,), "linear"),
    ((2, 21, 4, 5), (8, 7), "bilinear"), ((1, 1, 6, 5), (3, 20), "bilinear"), ((1, 2, 1, 1), (3, 1), "bilinear"),
    ((1, 3, 3, 2, 4), (6, 5, 3), "trilinear"),
)  # fmt: skip


def pytorchs(pairs: tuple) -> tuple:
    """The same pairs in PyTorch's order."""
    return tuple(number for pair in pairs[::-1] for number in pair)


@pytest.mark.parametrize(("shape", "pairs"), PADDED)
@every_mode
@every_dtype
def test_padding_is_numpys(shape, pairs, mode, dtype):
    """To the bit, in either order of the numbers; and the gradient is the adjoint."""
    rng = np.random.default_rng(0)
    x = integers(rng, shape, dtype)
    if mode == "reflect" and any(max(pair) >= I for I, pair in zip(shape[2:], pairs)):
        pairs = tuple((min(a, I - 1), min(b, I - 1)) for I, (a, b) in zip(shape[2:], pairs))
    y = ops.pad(x, pairs, mode=mode)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (0, 0), *pairs), NUMPYS[mode]), strict=True)
    np.testing.assert_array_equal(ops.pad(x, pytorchs(pairs), mode=mode), y)
    dy = integers(rng, y.shape, dtype)
    assert_adjoint((y, dy), (x, ops.pad_grad(dy, shape, pairs, mode=mode)))


def test_cropping_constants_and_omitted_dimensions():
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(ops.pad(x, (-1, 2, 0, -2), mode="replicate"), np.pad(x[..., :1, 1:], ((0, 0),) * 3 + ((0, 2),), "edge"))
    np.testing.assert_array_equal(ops.pad(x, (-1, 2), mode="circular")[0, 0, 0], [1, 2, 3, 1, 2])  # the circle is what is left
    np.testing.assert_array_equal(ops.pad(x, 1, mode="constant", value=2.5)[0, 1], np.pad(x[0, 1], 1, constant_values=2.5))
    np.testing.assert_array_equal(ops.pad(x, (1, 2)), np.pad(x, ((0, 0),) * 3 + ((1, 2),)))  # W alone
    np.testing.assert_array_equal(ops.pad(x, ((1, 2),)), np.pad(x, ((0, 0), (0, 0), (1, 2), (1, 2))))
    dx = ops.pad_grad(np.ones((1, 2, 3, 3), np.float32), x.shape, (-3, 2), mode="constant")
    np.testing.assert_array_equal(dx, np.broadcast_to([0, 0, 0, 1], x.shape))
    signs = np.signbit(ops.pad(np.full((1, 1, 2), -0.0), 1))
    np.testing.assert_array_equal(signs[0, 0], [False, True, True, False])


def matrices(shape: tuple, size: tuple, linear: bool, align_corners: bool) -> list[np.ndarray]:
    """The dense matrix (O, I) of each axis, written down element by element."""
    found = []
    for I, O in zip(shape[2:], size):
        matrix = np.zeros((O, I))
        for o in range(O):
            place = o * (I - 1) / max(1, O - 1) if align_corners else max(0, (o + 0.5) * I / O - 0.5) if linear else o * I // O
            low = min(int(place), I - 1)
            matrix[o, low] += 1 - (place - low)
            matrix[o, min(low + 1, I - 1)] += place - low
        found.append(matrix)
    return found


def dense(x: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    for axis, matrix in enumerate(matrices):
        x = np.moveaxis(np.tensordot(matrix, x, (1, 2 + axis)), 0, 2 + axis)
    return x


@pytest.mark.parametrize(("shape", "size", "mode"), RESIZED)
@pytest.mark.parametrize("align_corners", [None, False, True])
@every_dtype
def test_upsampling_is_a_matrix_of_each_axis(shape, size, mode, align_corners, dtype):
    """And the gradient is that of the transposed matrices."""
    if mode == "nearest":
        align_corners = None
    rng, words = np.random.default_rng(0), {"mode": mode, "align_corners": align_corners}
    axes = matrices(shape, size, mode != "nearest", bool(align_corners))
    x = normals(rng, shape, dtype)
    y = ops.upsample(x, size, **words)
    dy = normals(rng, y.shape, dtype)
    dx = ops.upsample_grad(dy, shape, size, **words)
    for found, operand, back in ((y, x, False), (dx, dy, True)):
        both = [matrix.T for matrix in axes] if back else axes
        exact, S = (dense(f(operand.astype(np.float64)), both) for f in (np.positive, np.abs))
        assert found.dtype == dtype
        terms = sum(int((matrix != 0).sum(1).max()) for matrix in both)
        assert (abs(found - exact) <= (2 * terms + 3) * ROUNDOFF[dtype] * S + 1e-13).all()  # products, sums, and each axis' rounded weight


def test_ends_are_copies():
    """Before the first cell's middle and behind the last one's there is nothing to mix with."""
    x = normals(np.random.default_rng(0), (2, 50, 4), np.float32)
    y = ops.upsample(x, 12, mode="linear")
    for end in (0, -1):
        np.testing.assert_array_equal(y[..., end], x[..., end])


def test_scale_factors():
    """O = floor(I * scale); places are told by the factor, not by the sizes that it gives."""
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    np.testing.assert_array_equal(ops.upsample(x, scale_factor=2), [[[0, 0, 1, 1, 2, 2, 3, 3]]])
    np.testing.assert_array_equal(ops.upsample(x, scale_factor=1.3), ops.upsample(x, scale_factor=(1.3,)))
    np.testing.assert_array_equal(ops.upsample(x, None, 1.3), [[[0, 0, 1, 2, 3]]])
    np.testing.assert_allclose(ops.upsample(x, None, 1.3, mode="linear")[0, 0], np.clip((np.arange(5) + 0.5) / 1.3 - 0.5, 0, 3), rtol=1e-6)
    np.testing.assert_array_equal(ops.upsample(x, 7, mode="linear", align_corners=True)[0, 0], np.arange(7) / 2)


def test_the_same_bits_on_any_number_of_threads_and_of_any_layout(threads):
    rng = np.random.default_rng(0)
    x, dy = normals(rng, (3, 21, 40, 30), np.float32), normals(rng, (3, 21, 80, 45), np.float32)

    def run(x, dy):
        words = {"size": (80, 45), "mode": "bilinear"}
        padded = ops.pad(x, (3, 4, 5, 6), mode="reflect")
        return ops.upsample(x, **words), ops.upsample_grad(dy, x.shape, **words), padded, ops.pad_grad(padded, x.shape, (3, 4, 5, 6), mode="reflect")

    threads(1)
    expected = run(x, dy)
    threads(2)
    for given in ((x, dy), (np.asfortranarray(x), np.asfortranarray(dy)), (x[:, ::-1][:, ::-1], dy[::-1][::-1])):
        for found, wanted in zip(run(*given), expected):
            np.testing.assert_array_equal(found, wanted)
    one = run(x[1:2], dy[1:2])
    for found, wanted in zip(one, expected):
        np.testing.assert_array_equal(found[0], wanted[1])


@every_mode
def test_runs_hold_each_output_once(mode):
    """Neighboring outputs that read neighboring inputs are one run, of as many entries."""
    for sums in (padded_axis(6, (3, 2), mode), resized_axis(6, 12, 0.5, False, False), resized_axis(5, 9, 5 / 9, True, False).transposed):
        rows = [list(zip(sums.inputs[a:b].tolist(), sums.weights[a:b].tolist())) for a, b in zip(sums.starts, sums.starts[1:])]
        found = []
        for first, count, entry, stop in sums.runs().tolist():
            assert first == len(found)
            for i in range(count):
                found.append([(j + i, weight) for j, weight in zip(sums.inputs[entry:stop].tolist(), sums.weights[entry:stop].tolist())])
        assert found == rows
    longest = padded_axis(6, (3, 2), mode).runs()[:, 1].max()
    assert longest >= 6


image = np.zeros((2, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.pad(image, (1, 2, 3)), ValueError, r"pad: padding must be an integer, as many pairs as dimensions, or \(left, right, top, "),
        (lambda: ops.pad(image, ((1, 2), 3)), ValueError, "pad: padding must be an integer, as many pairs"),
        (lambda: ops.pad(image, (1.0, 2)), TypeError, r"pad: padding\[0\] must be an integer, got 1.0"),
        (lambda: ops.pad(image, (1,) * 6), ValueError, r"pad: padding=\(1, 1, 1, 1, 1, 1\) does not fit 2 spatial dimensions \(H, W\)$"),
        (lambda: ops.pad(image, ((1, 2),) * 3), ValueError, "pad: padding=.* does not fit 2 spatial dimensions"),
        (lambda: ops.pad(image, 4, mode="reflect"), ValueError, 'pad: mode="reflect" can pad at most 3 cells at each end along H, where IH=4'),
        (lambda: ops.pad(image, -2), ValueError, r"pad: padding \(-2, -2\) leaves nothing of IH=4"),
        (lambda: ops.pad(image, (-5, 1), mode="circular"), ValueError, r"pad: padding \(-5, 1\) leaves nothing of IW=5"),
        (lambda: ops.pad(image, 1, mode="edge"), ValueError, "pad: mode must be one of 'zeros', 'constant', .* got 'edge'"),
        (lambda: ops.pad(image, 1, value=3), ValueError, "pad: value=3.0 is for mode=\"constant\", got mode='zeros'"),
        (lambda: ops.pad(image, 1, mode="constant", value="1"), TypeError, "pad: value must be a number, got '1'"),
        (lambda: ops.pad(image, 1, mode="constant", value=1e39), ValueError, r"pad: value=1e\+39 is beyond the range of float32"),
        (lambda: ops.pad(image, 2**31 - 1), ValueError, "pad: the output .* more elements than this machine can address"),
        (lambda: ops.pad(image[0, 0], 1), ValueError, r"pad: x must have 3 to 5 axes \(N, C, spatial...\), got 2"),
        (lambda: ops.pad_grad(image, image.shape, 1), ValueError, r"pad_grad: dy\(2, 3, 4, 5\) does not fit: the forward pass gives \(2, 3, 6, 7\)"),
        (lambda: ops.upsample(image), ValueError, "upsample: either size or scale_factor must be given, got size=None"),
        (lambda: ops.upsample(image, 2, 2), ValueError, "upsample: either size or scale_factor must be given, got size=2"),
        (lambda: ops.upsample(image, 2.0), TypeError, "upsample: size must be an integer, got 2.0"),
        (lambda: ops.upsample(image, (2, 0)), ValueError, r"upsample: size\[1\] must be between 1 and"),
        (lambda: ops.upsample(image, (2, 2, 2)), ValueError, r"upsample: size=\(2, 2, 2\) has 3 entries for 2 spatial dimensions"),
        (lambda: ops.upsample(image, None, (2, 2, 2)), ValueError, r"upsample: scale_factor=\(2.0, 2.0, 2.0\) has 3 entries for 2 spatial"),
        (lambda: ops.upsample(image, None, 0), ValueError, "upsample: scale_factor must be above 0 and finite, got 0.0"),
        (lambda: ops.upsample(image, None, 0.2), ValueError, "upsample: scale_factor=0.2 leaves nothing of x"),
        (lambda: ops.upsample(image, 8, mode="linear"), ValueError, 'upsample: mode="linear" is for another rank: .* write mode="bilinear"'),
        (lambda: ops.upsample(image, 8, mode="bicubic"), ValueError, "upsample: mode must be one of 'nearest', 'linear', .* got 'bicubic'"),
        (lambda: ops.upsample(image, 8, align_corners=True), ValueError, "upsample: align_corners is for the linear modes, got True"),
        (lambda: ops.upsample(image, 8, mode="bilinear", align_corners=1), TypeError, "upsample: align_corners must be True or False"),
        (lambda: ops.upsample_grad(image, image.shape, 8), ValueError, r"upsample_grad: dy\(2, 3, 4, 5\) does not fit: .* gives \(2, 3, 8"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
