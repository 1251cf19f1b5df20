"""What lies around the input: zeros, or copies of the input, whose gradients go back to the cells that were copied."""

import math
import re

import numpy as np
import pytest
from geometries import DTYPES, NUMPYS, Convolution, integers, normals
from laws import assert_adjoint, assert_rounded, assert_whole, halves

import fastconv as fc
from fastconv import layers, ops
from fastconv.geometry import sources
from fastconv.kernels import table

ALGORITHMS = dict.fromkeys(row.name for operation in ("conv_forward", "conv_input_grad", "conv_weight_grad") for row in table.OPERATIONS[operation])
COPIES = ("reflect", "replicate", "circular")
PAIRED = (  # padding in pairs, none wider than the narrowest mode allows
    Convolution("1-D", (2, 3, 6), (4, 3, 3), {"padding": ((1, 1),)}),
    Convolution("1-D, as far as reflect goes", (2, 2, 4), (3, 2, 5), {"padding": ((3, 2),), "stride": 2}),
    Convolution("1-D groups, dilation", (2, 4, 7), (6, 2, 3), {"padding": ((0, 4),), "dilation": 2, "groups": 2}),
    Convolution("2-D", (2, 3, 5, 4), (4, 3, 3, 3), {"padding": ((1, 1), (1, 1))}),
    Convolution("2-D asymmetric", (2, 3, 5, 6), (5, 3, 2, 3), {"padding": ((0, 3), (2, 1)), "stride": (1, 2)}),
    Convolution("2-D stride over kernel", (1, 2, 6, 5), (3, 2, 2, 2), {"padding": ((2, 4), (3, 3)), "stride": 3}),
    Convolution("2-D dilation, groups", (1, 4, 5, 6), (4, 2, 2, 3), {"padding": ((2, 1), (2, 2)), "dilation": (3, 2), "groups": 2}),
    Convolution("2-D, one axis", (2, 2, 1, 6), (3, 2, 1, 3), {"padding": ((0, 0), (1, 2))}),
    Convolution("2-D, wide", (2, 17, 4, 5), (33, 17, 3, 3), {"padding": ((1, 1), (1, 1))}),
    Convolution("2-D depthwise", (1, 5, 4, 5), (10, 1, 3, 3), {"padding": ((1, 1), (1, 1)), "groups": 5}),
    Convolution("3-D", (2, 2, 3, 4, 2), (3, 2, 2, 3, 2), {"padding": ((1, 2), (2, 0), (1, 1)), "stride": (1, 2, 1)}),
    Convolution("3-D dilation, groups", (1, 4, 4, 3, 3), (2, 2, 2, 2, 2), {"padding": ((0, 1), (1, 2), (2, 2)), "dilation": (1, 2, 1), "groups": 2}),
)
every_case = pytest.mark.parametrize("case", PAIRED, ids=lambda case: case.name)
every_mode = pytest.mark.parametrize("mode", NUMPYS)
every_copy = pytest.mark.parametrize("mode", COPIES)


def with_mode(case: Convolution, mode: str, **words) -> Convolution:
    return case._replace(words=case.words | words | {"padding_mode": mode})


def pad(a: np.ndarray, case: Convolution, mode: str, **more) -> np.ndarray:
    return np.pad(a, ((0, 0), (0, 0), *case.words["padding"]), NUMPYS[mode], **more)


def unpadded(case: Convolution, mode: str) -> Convolution:
    """The same convolution of the input with its padding written out."""
    return case._replace(x=pad(np.empty(case.x), case, mode).shape, words=case.words | {"padding": 0})


def folded(case: Convolution, mode: str, d_padded: np.ndarray) -> np.ndarray:
    """Each padded cell's gradient, added to the cell that NumPy took it from."""
    size = math.prod(case.x)
    outside = {"constant_values": size} if mode == "zeros" else {}
    origin = pad(np.arange(size).reshape(case.x), case, mode, **outside)
    return np.bincount(origin.ravel(), d_padded.ravel(), size + 1)[:size].reshape(case.x)


@every_case
@every_mode
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_it_is_the_convolution_of_what_numpy_pads(case, mode, dtype):
    """The gradients of the padding fold back onto the cells that were copied. Exactly, on integers, in every algorithm."""
    x, w, b, dy = case.draw(integers, dtype)
    wide, full, moded = unpadded(case, mode), pad(x, case, mode), with_mode(case, mode)
    with fc.algorithm("reference"):
        expected = wide.forward(full, w, b), folded(case, mode, wide.input_grad(dy, w)), wide.weight_grad(full, dy)
    for algorithm in ALGORITHMS:
        with fc.algorithm(algorithm):
            found = moded.forward(x, w, b), moded.input_grad(dy, w), moded.weight_grad(x, dy)
        for result, exact in zip(found, expected, strict=True):
            assert_whole(result, exact.astype(dtype), algorithm)


@every_case
@every_copy
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_passes_are_adjoint(case, mode, algorithm):
    """Exactly, on integers: also where the gradient is folded."""
    x, w, _, dy = case.draw(integers, np.float64)
    moded = with_mode(case, mode)
    with fc.algorithm(algorithm):
        assert_adjoint((moded.forward(x, w), dy), (x, moded.input_grad(dy, w)), (w, moded.weight_grad(x, dy)))


@every_copy
@pytest.mark.parametrize(("x", "w", "words", "pairs"), [
    ((2, 3, 6), (4, 3, 4), {}, ((1, 2),)),
    ((1, 3, 5, 6), (4, 3, 3, 2), {"dilation": (2, 3)}, ((2, 2), (1, 2))),
    ((1, 2, 7, 8), (2, 2, 3, 4), {"stride": (2, 3)}, ((1, 1), (1, 1))),
    ((1, 2, 3, 3, 4), (2, 2, 2, 3, 4), {}, ((0, 1), (1, 1), (1, 2))),
])  # fmt: skip
def test_same_in_every_mode(mode, x, w, words, pairs):
    """Padding "same" pads as much in every mode, the odd cell at the end; an int is both sides of every axis."""
    case = Convolution("same", x, w, words | {"padding": pairs, "padding_mode": mode})
    x, w, b, dy = case.draw(integers, np.float32)
    same = with_mode(case, mode, padding="same")
    for run in (lambda case: case.forward(x, w, b), lambda case: case.input_grad(dy, w), lambda case: case.weight_grad(x, dy)):
        np.testing.assert_array_equal(run(same), run(case))
    if all(pair == (1, 1) for pair in pairs):
        np.testing.assert_array_equal(case.forward(x, w), with_mode(case, mode, padding=1).forward(x, w))


@every_mode
def test_nothing_padded_is_no_mode(mode):
    """Also in what is cached: one geometry, one plan."""
    for padding in (0, "valid", ((0, 0), (0, 0)), "same"):
        assert Convolution("", (1, 2, 1, 1), (3, 2, 1, 1), {"padding": padding, "padding_mode": mode}).g.padding_mode == "zeros"


def test_modes_are_different_geometries():
    """One after the other, in any order: no mode runs with another's tables."""
    case = PAIRED[3]
    x, w, _, dy = case.draw(normals, np.float32)
    one, other = ({mode: with_mode(case, mode).forward(x, w).tobytes() for mode in order} for order in (tuple(NUMPYS), tuple(NUMPYS)[::-1]))
    assert len(set(one.values())) == 4
    assert one == other
    assert len({with_mode(case, mode).input_grad(dy, w).tobytes() for mode in NUMPYS}) == 4


@every_copy
def test_the_sources_of_an_axis(mode):
    """NumPy's, as far as the mode reaches."""
    for I in range(1, 7):
        P = I - 1 if mode == "reflect" else I if mode == "circular" else 3 * I
        np.testing.assert_array_equal(sources(np.arange(-P, I + P), I, mode), np.pad(np.arange(I), P, NUMPYS[mode]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_error_bound_where_every_addition_rounds(algorithm, dtype):
    """600 copies of one cell give back a sum of which a running sum loses 599 terms; the row's c counts the copies."""
    case, (dy, S) = Convolution("", (1, 1, 1), (1, 1, 1), {"padding": ((0, 599),), "padding_mode": "replicate"}), halves(600, dtype)
    with fc.algorithm(algorithm):
        dx, c = case.input_grad(dy[None, None], np.ones((1, 1, 1), dtype)), table.pick("conv_input_grad", case.g, dtype).error(case.g, dtype)
    assert_rounded(dx, S, S, (c + 1, 0))


def test_padding_beyond_all_measure():
    """Tables are of the input, not of the padding: two outputs of four thousand million cells of padding."""
    x, w, words = np.arange(1.0, 6)[None, None], np.ones((1, 1, 1)), {"padding": ((2**31 - 1, 0),), "stride": 2**31 - 1}
    with fc.algorithm("direct"):
        assert ops.conv1d(x, w, **words).tolist() == [[[0, 1]]]
        assert ops.conv1d(x, w, **words, padding_mode="replicate").tolist() == [[[1, 1]]]
        assert ops.conv1d_weight_grad(x, np.ones((1, 1, 2)), 1, **words, padding_mode="replicate").tolist() == [[[2]]]


X, W, DY = np.zeros((2, 4, 3, 5), np.float32), np.zeros((4, 4, 3, 3), np.float32), np.zeros((2, 4, 3, 5), np.float32)
CALLS = {
    "conv2d": lambda **words: ops.conv2d(X, W, **words),
    "conv2d_input_grad": lambda **words: ops.conv2d_input_grad(DY, W, X.shape, **words),
    "conv2d_weight_grad": lambda **words: ops.conv2d_weight_grad(X, DY, 3, **words),
    "Conv2d": lambda **words: layers.Conv2d(4, 4, 3, **words)(X),
}


@pytest.mark.parametrize("op", CALLS)
def test_a_mode_that_is_none_of_the_four(op):
    """Before anything is allocated; the message lists the four, whatever is given."""
    for value in ("edge", "Zeros", "", "constant", None, 0, True, 1.5, ("zeros",), ["reflect"], {}, np.array(["zeros", "reflect"])):
        message = f"{op}: padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular', got {value!r}"
        for words in ({}, {"padding": 1}):
            with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
                CALLS[op](**words, padding_mode=value)
    CALLS[op](padding=1, padding_mode=np.str_("circular"))


@pytest.mark.parametrize("op", CALLS)
@pytest.mark.parametrize(("mode", "padding", "limit", "axis", "pair"), [
    ("reflect", 3, 2, "H", (3, 3)), ("reflect", (1, 5), 4, "W", (5, 5)), ("reflect", ((0, 3), 0), 2, "H", (0, 3)),
    ("reflect", 2**31 - 1, 2, "H", (2**31 - 1, 2**31 - 1)),
    ("circular", 4, 3, "H", (4, 4)), ("circular", (3, (6, 1)), 5, "W", (6, 1)), ("circular", ((3, 4), 1), 3, "H", (3, 4)),
])  # fmt: skip
def test_a_mode_has_only_one_input_to_read(op, mode, padding, limit, axis, pair):
    """Reflect needs pad < I, circular pad <= I, on each side and axis."""
    extent = {"H": 3, "W": 5}[axis]
    message = f'{op}: padding_mode="{mode}" can pad at most {limit} cells at each end along {axis}, where I{axis}={extent}; got {pair}'
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        CALLS[op](padding=padding, padding_mode=mode)


def test_a_mode_has_only_one_input_to_read_also_in_other_ranks():
    with pytest.raises(ValueError, match=r'^conv1d: padding_mode="reflect" can pad at most 0 cells at each end along W, where IW=1; got \(1, 1\)$'):
        ops.conv1d(X[:, :, 0, :1], W[:, :, 0], padding="same", padding_mode="reflect")
    with pytest.raises(ValueError, match=r'^Conv3d: padding_mode="circular" can pad at most 1 cells at each end along D, where ID=1; got \(2, 2\)$'):
        layers.Conv3d(4, 2, 3, padding=2, padding_mode="circular").output_shape((1, 4, 1, 3, 5))


def test_transposed_convolution_has_zeros_only():
    """As in PyTorch: its layers take the word and refuse all else, its functions do not have it."""
    assert "padding_mode" not in repr(layers.ConvTranspose2d(4, 4, 3, padding_mode="zeros"))
    for mode in (*COPIES, "edge", None):
        message = f'ConvTranspose1d: padding_mode must be "zeros", a transposed convolution has no other; got {mode!r}'
        with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
            layers.ConvTranspose1d(4, 4, 3, padding_mode=mode)


@every_copy
@pytest.mark.parametrize(("kind", "shape"), [(layers.Conv1d, (2, 2, 6)), (layers.Conv2d, (2, 2, 4, 5)), (layers.Conv3d, (1, 2, 3, 4, 3))])
def test_layers(kind, shape, mode):
    """repr, state, shapes; the output is linear in each single value, so a step of 1 gives its derivative."""
    layer = kind(2, 3, 3, padding=1, groups=1, padding_mode=mode, dtype=np.float64)
    assert repr(layer) == f"{kind.__name__}(2, 3, kernel_size={(3,) * layer.rank}, padding=1, padding_mode={mode!r})"
    again, zeros = kind(2, 3, 3, padding=1, padding_mode=mode, dtype=np.float64), kind(2, 3, 3, padding=1, dtype=np.float64)
    for other in (again, zeros):
        other.load_state_dict(layer.state_dict())
    rng = np.random.default_rng(0)
    x, dy = normals(rng, shape, np.float64), normals(rng, (shape[0], 3, *shape[2:]), np.float64)
    y, backward = layer.forward(x)
    dx = backward(dy)
    assert y.shape == layer.output_shape(shape) == dy.shape
    np.testing.assert_array_equal(again(x), y)
    assert (zeros(x) != y).any()
    for value, grad in ((x, dx), *((p.value, p.grad) for p in layer.parameters())):
        for i in np.ndindex(value.shape):
            value[i] += 1
            assert math.fsum(((layer(x) - y) * dy).ravel()) == pytest.approx(grad[i], rel=1e-9, abs=1e-9)
            value[i] -= 1
