"""Arguments that nobody thought of: an op answers, or a ValueError or TypeError begins with its name; at no great cost of memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops

pytestmark = pytest.mark.usefixtures("one_thread")
LIMIT = 48 << 20  # bytes, for arrays of a few hundred numbers: the tables' constant part
NUMBERS = st.sampled_from((0, 1, 1, 1, 2, 2, 3, 4, 100, 2**15, 2**30, 2**31 - 1, 2**31, 2**63, -1))
ODD = st.sampled_from((None, True, 1.0, float("nan"), "same", "1", b"1", 1j, object(), [], (), [[1]], {2}, np.float32(1), np.ones((2, 2))))
WORDS = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.tuples(NUMBERS, NUMBERS), st.tuples(st.tuples(NUMBERS, NUMBERS), NUMBERS), ODD)
EXTENTS = st.sampled_from((0, 1, 1, 2, 3, 4, 5, 6))
ARRAYS = st.one_of(
    *[st.builds(np.ones, st.tuples(EXTENTS, EXTENTS, EXTENTS, EXTENTS), st.sampled_from((np.float32, np.float32, np.float32, np.float64)))] * 4,
    st.builds(np.ones, st.lists(EXTENTS, max_size=6), st.sampled_from((np.float32, np.uint8, complex, "U1"))),
    ODD,
)
SHAPES = st.one_of(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), st.tuples(EXTENTS, EXTENTS, EXTENTS, EXTENTS), ARRAYS, ODD)
INDICES = st.one_of(st.builds(np.full, st.tuples(EXTENTS, EXTENTS, EXTENTS, EXTENTS), st.integers(-1, 40)), ARRAYS)
MODES = st.sampled_from(("zeros", "constant", "reflect", "replicate", "circular", "nearest", "bilinear", "trilinear", None, 1))
CONVOLUTION = {"stride": WORDS, "padding": WORDS, "dilation": WORDS, "groups": WORDS}
AVERAGE = {"stride": WORDS, "padding": WORDS, "dilation": WORDS, "divisor_override": WORDS, "ceil_mode": st.booleans()}
MAXIMUM = {"stride": WORDS, "padding": WORDS, "dilation": WORDS, "ceil_mode": st.booleans()}
TRANSPOSED = CONVOLUTION | {"output_padding": WORDS, "output_size": WORDS}
CALLS = {  # positional arguments, words
    "conv2d": ((ARRAYS, ARRAYS), CONVOLUTION),
    "conv2d_input_grad": ((ARRAYS, ARRAYS, SHAPES), CONVOLUTION),
    "conv2d_weight_grad": ((ARRAYS, ARRAYS, WORDS), CONVOLUTION),
    "conv_transpose2d": ((ARRAYS, ARRAYS), TRANSPOSED),
    "conv_transpose2d_input_grad": ((ARRAYS, ARRAYS, SHAPES), TRANSPOSED),
    "conv_transpose2d_weight_grad": ((ARRAYS, ARRAYS, WORDS), TRANSPOSED),
    "max_pool2d": ((ARRAYS, WORDS), MAXIMUM),
    "max_pool2d_grad": ((ARRAYS, ARRAYS, SHAPES, WORDS), MAXIMUM),
    "avg_pool2d": ((ARRAYS, WORDS), AVERAGE),
    "avg_pool2d_grad": ((ARRAYS, SHAPES, WORDS), AVERAGE),
    "adaptive_max_pool2d": ((ARRAYS, WORDS), {}),
    "adaptive_avg_pool2d": ((ARRAYS, WORDS), {}),
    "adaptive_avg_pool2d_grad": ((ARRAYS, SHAPES), {}),
    "max_unpool2d": ((ARRAYS, INDICES, WORDS), {"stride": WORDS, "padding": WORDS, "output_size": WORDS}),
    "max_unpool2d_grad": ((ARRAYS, INDICES), {}),
    "pad": ((ARRAYS, WORDS), {"mode": MODES, "value": WORDS}),
    "pad_grad": ((ARRAYS, SHAPES, WORDS), {"mode": MODES}),
    "upsample": ((ARRAYS, WORDS), {"scale_factor": WORDS, "mode": MODES, "align_corners": WORDS}),
    "upsample_grad": ((ARRAYS, SHAPES, WORDS), {"scale_factor": WORDS, "mode": MODES}),
    "linear": ((ARRAYS, ARRAYS), {}),
    "bias_grad": ((ARRAYS,), {}),
    "softmax": ((ARRAYS, WORDS), {}),
    "log_softmax": ((ARRAYS, WORDS), {}),
    "relu_grad": ((ARRAYS, ARRAYS), {}),
    "dropout": ((ARRAYS, WORDS, WORDS), {}),
    "batch_statistics": ((ARRAYS,), {}),
    "batch_norm": ((ARRAYS, ARRAYS, ARRAYS), {"eps": WORDS}),
}


@st.composite
def calls(draw, op):
    positional, words = CALLS[op]
    some = draw(st.lists(st.sampled_from(sorted(words)), unique=True, max_size=2)) if words else []
    return tuple(map(draw, positional)), {word: draw(words[word]) for word in some}


@pytest.mark.parametrize("op", CALLS)
def test_an_answer_or_an_error_by_name(op, monkeypatch):
    """Results that are large because they were asked for are not made."""

    def modest(shape, dtype, make=np.empty):
        if np.prod([float(extent) for extent in shape]) > 1 << 20:
            raise LargeResultError
        return make(shape, dtype)

    monkeypatch.setattr("fastconv.memory.empty", modest)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(calls(op))
    def check(call):
        arguments, words = call
        tracemalloc.start()
        try:
            found = answer(getattr(ops, op), *arguments, **words)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < LIMIT
        if isinstance(found, str):
            assert found.startswith(f"{op}: ")
            assert "\n" not in found
        elif found is not None and SHAPES in CALLS[op][0]:
            assert found.shape == tuple(arguments[CALLS[op][0].index(SHAPES)])

    check()


class LargeResultError(Exception):
    """What was asked for would be large."""


def answer(op, *arguments, **words):
    """What the op returns, or the text of its error; None for a large result."""
    try:
        return op(*arguments, **words)
    except LargeResultError:
        return None
    except (TypeError, ValueError) as error:
        return str(error)
