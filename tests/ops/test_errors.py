"""Wrong words, shapes and dtypes: a ValueError or TypeError that says where, what and with which numbers."""

import re

import numpy as np
import pytest

from fastconv import ops

x, w, b, dy = np.zeros((2, 4, 6, 6), np.float32), np.zeros((4, 4, 3, 3), np.float32), np.zeros(4, np.float32), np.zeros((2, 4, 4, 4), np.float32)
pooled, argmax = ops.max_pool2d(x, 3)

CONVOLUTIONS = {
    "conv2d": lambda **words: ops.conv2d(x, w, b, **words),
    "conv2d_input_grad": lambda **words: ops.conv2d_input_grad(dy, w, x.shape, **words),
    "conv2d_weight_grad": lambda kernel_size=3, **words: ops.conv2d_weight_grad(x, dy, kernel_size, **words),
}
POOLINGS = {
    "max_pool2d": lambda kernel_size=3, **words: ops.max_pool2d(x, kernel_size, **words),
    "max_pool2d_grad": lambda kernel_size=3, **words: ops.max_pool2d_grad(pooled, argmax, x.shape, kernel_size, **words),
    "avg_pool2d": lambda kernel_size=3, **words: ops.avg_pool2d(x, kernel_size, **words),
    "avg_pool2d_grad": lambda kernel_size=3, **words: ops.avg_pool2d_grad(pooled, x.shape, kernel_size, **words),
}
CALLS = CONVOLUTIONS | POOLINGS
ACCEPTS = {
    "kernel_size": ("conv2d_weight_grad", *POOLINGS),
    "stride": tuple(CALLS),
    "padding": tuple(CALLS),
    "dilation": tuple(CALLS),
    "groups": tuple(CONVOLUTIONS),
    "divisor_override": ("avg_pool2d", "avg_pool2d_grad"),
}
WORDS = [(op, word) for word, accepting in ACCEPTS.items() for op in accepting]
NOT_INTEGERS = (True, False, np.True_, 1.0, 2.5, float("nan"), b"1", object(), 1j, np.array([1, 1]), np.float32(1))
every_word = pytest.mark.parametrize(("op", "word"), WORDS)


@pytest.mark.parametrize("value", [-1, -(2**31), 2**31, 2**32, 2**63, 2**64, 10**30])
@every_word
def test_integers_out_of_range(op, word, value):
    """k, s, d <= 0, p < 0, 2**31 to 2**64 raise before anything is allocated."""
    forms = (value,) if word in ("groups", "divisor_override") else (value, (1, value), [value])
    for form in forms:
        with pytest.raises(ValueError, match=rf"^{op}: {word}(\[\d\])? must be between [01] and 2147483647, got {value}$"):
            CALLS[op](**{word: form})


@every_word
def test_zero(op, word):
    """0 is a padding and nothing else."""
    if word == "padding" and op in POOLINGS:
        CALLS[op](**{word: 0})
    elif word != "padding":
        with pytest.raises(ValueError, match=rf"^{op}: {word} must be between 1 and 2147483647, got 0$"):
            CALLS[op](**{word: 0})


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=lambda value: type(value).__name__)
@every_word
def test_what_is_no_integer(op, word, value):
    """Bool, float, bytes, arrays; also right after a valid call whose value has the same hash."""
    CALLS[op](**({} if word == "padding" and op in CONVOLUTIONS else {word: 3} if word == "kernel_size" else {}))
    for form in (value,) if word in ("groups", "divisor_override") else (value, (value, value), [value]):
        with pytest.raises(TypeError, match=rf"^{op}: {word}(\[\d\])? must be an integer, got "):
            CALLS[op](**{word: form})


@every_word
def test_none_and_strings(op, word):
    """None (but for a pooling's stride and divisor_override, where it is the default) and strings."""
    if word != "divisor_override" and not (word == "stride" and op in POOLINGS):
        with pytest.raises(TypeError, match=rf"^{op}: {word} must be an integer, got None"):
            CALLS[op](**{word: None})
    error, message = (ValueError, 'must be "same", "valid"') if word == "padding" else (TypeError, "must be an integer")
    with pytest.raises(error, match=rf"^{op}: {word} {message}.* got '1'"):
        CALLS[op](**{word: "1"})


@pytest.mark.parametrize("equal", [True, 1.0, np.float64(1)], ids=repr)
@pytest.mark.parametrize("word", ["stride", "padding", "dilation", "groups"])
def test_equal_hash_after_a_valid_call(word, equal):
    """1 has been remembered; True and 1.0 hash alike and are still refused, alone and in tuples."""
    ops.conv2d(x, w, **{word: 1})
    for form in (equal,) if word == "groups" else (equal, (1, equal)):
        with pytest.raises(TypeError, match=rf"^conv2d: {word}(\[1\])? must be an integer, got {re.escape(repr(equal))}"):
            ops.conv2d(x, w, **{word: form})
    if word in ("stride", "dilation", "padding"):
        ops.max_pool2d(x, 3, **{word: 1})
        with pytest.raises(TypeError, match=rf"^max_pool2d: {word} must be an integer, got {re.escape(repr(equal))}"):
            ops.max_pool2d(x, 3, **{word: equal})


@every_word
def test_wrong_lengths(op, word):
    """Wrong tuple lengths; the message counts the dimensions."""
    if word not in ("groups", "divisor_override"):
        for value in ((), (1, 1, 1), [1, 1, 1]):
            with pytest.raises(ValueError, match=rf"^{op}: {word}=.* has {len(value)} entries for 2 spatial dimensions \(H, W\)$"):
                CALLS[op](**{word: value})


@pytest.mark.parametrize("flag", [1, 0, None, "True", 1.0])
def test_flags(flag):
    with pytest.raises(TypeError, match=r"^max_pool2d: ceil_mode must be True or False, got"):
        ops.max_pool2d(x, 3, ceil_mode=flag)
    with pytest.raises(TypeError, match=r"^avg_pool2d_grad: count_include_pad must be True or False, got"):
        ops.avg_pool2d_grad(pooled, x.shape, 3, count_include_pad=flag)


def test_pairs_show_the_right_form():
    """Conv1d takes ((1, 2),); (1, 2) there is an error that shows the right form."""
    line, taps = np.zeros((1, 1, 5)), np.zeros((1, 1, 3))
    assert ops.conv1d(line, taps, padding=((1, 2),)).shape == (1, 1, 6)
    with pytest.raises(ValueError, match=re.escape("write padding=((1, 2),)")):
        ops.conv1d(line, taps, padding=(1, 2))
    with pytest.raises(ValueError, match=r"^conv2d: padding\[0\] must be an integer or a pair \(before, after\), got \(1, 2, 3\)$"):
        ops.conv2d(x, w, padding=((1, 2, 3), 1))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: ops.conv2d(np.zeros((20, 3, 50, 100)), np.zeros((33, 16, 3, 3))),
            "conv2d: w has IC=16, but x has IC=3; got x(20, 3, 50, 100) as (N, IC, IH, IW), w(33, 16, 3, 3) as (OC, IC, KH, KW)",
        ),
        (
            lambda: ops.conv2d(x, w, np.zeros(5, np.float32)),
            "conv2d: b has OC=5, but w has OC=4; got x(2, 4, 6, 6) as (N, IC, IH, IW), w(4, 4, 3, 3) as (OC, IC, KH, KW), b(5,) as (OC)",
        ),
        (lambda: ops.conv2d(x[0], w), "conv2d: x must have 4 axes (N, IC, IH, IW), got 3; for a single example write x[None]; got x(4, 6, 6)"),
        (
            lambda: ops.conv2d_weight_grad(x, dy[0], 3),
            "conv2d_weight_grad: dy must have 4 axes (N, OC, OH, OW), got 3; for a single example write dy[None]",
        ),
        (lambda: ops.max_pool2d(x[0], 2), "max_pool2d: x must have 4 axes (N, C, IH, IW), got 3; for a single example write x[None]"),
        (lambda: ops.linear(b, w[:, :, 0, 0]), "linear: x must have 2 axes (N, I), got 1; for a single example write x[None]"),
        (
            lambda: ops.conv2d(x, w, groups=3),
            "conv2d: IC=4 is not divisible by groups=3; got x(2, 4, 6, 6) as (N, IC, IH, IW), w(4, 4, 3, 3) as (OC, IC/groups, KH, KW)",
        ),
        (lambda: ops.conv2d(x, w[:3, :2], groups=2), "conv2d: OC=3 is not divisible by groups=2; got x(2, 4, 6, 6)"),
        (lambda: ops.conv2d(x, w, groups=2), "conv2d: w has IC/groups=4, but x has IC=4 and groups=2 make 2; got x(2, 4, 6, 6)"),
        (lambda: ops.conv2d_weight_grad(x, dy, 3, groups=3), "conv2d_weight_grad: IC=4 is not divisible by groups=3; got x(2, 4, 6, 6)"),
        (
            lambda: ops.conv2d_weight_grad(x, dy[:1], 3),
            "conv2d_weight_grad: dy has N=1, but x has N=2; got x(2, 4, 6, 6) as (N, IC, IH, IW), dy(1, 4, 4, 4) as (N, OC, OH, OW)",
        ),
        (
            lambda: ops.conv2d_input_grad(dy, w, (2, 4, 7, 6)),
            "conv2d_input_grad: dy(2, 4, 4, 4) as (N, OC, OH, OW) does not fit: the forward pass gives (2, 4, 5, 4); got x(2, 4, 7, 6)",
        ),
        (
            lambda: ops.max_pool2d_grad(dy, argmax, x.shape, 3),
            "max_pool2d_grad: dy(2, 4, 4, 4) does not fit: the forward pass gives (2, 4, 2, 2) for the input (2, 4, 6, 6)",
        ),
        (lambda: ops.relu_grad(x, dy), "relu_grad: dy(2, 4, 6, 6) and y(2, 4, 4, 4) must have the same shape"),
        (lambda: ops.bias_grad(b), "bias_grad: dy must have 2 to 5 axes (N, OC, spatial...), got 1"),
        (
            lambda: ops.conv2d(x, np.zeros((4, 4, 7, 3), np.float32)),
            "conv2d: no output along H: the window covers 7 cells (kernel 7, dilation 1), the padded input has 6 (0 + 6 + 0)",
        ),
        (lambda: ops.conv2d(x, w, dilation=(1, 3)), "conv2d: no output along W: the window covers 7 cells (kernel 3, dilation 3)"),
        (lambda: ops.avg_pool2d(x, 7), "avg_pool2d: no output along H: the window covers 7 cells"),
        (
            lambda: ops.conv2d(x, w, padding=2**31 - 1),
            "conv2d: the output (2, 4, 4294967298, 4294967298) has more elements than this machine can address",
        ),
        (
            lambda: ops.conv2d_weight_grad(x, dy, 2**31 - 1, padding=2**31 - 1),
            "conv2d_weight_grad: the weight (4, 4, 2147483647, 2147483647) has more elements",
        ),
        (lambda: ops.conv2d_input_grad(dy, w, (2, 4, -6, 6)), "conv2d_input_grad: input_shape=(2, 4, -6, 6) has an extent outside 0..2147483647"),
        (
            lambda: ops.conv2d_input_grad(dy, w, (2, 4, 2**64, 6)),
            "conv2d_input_grad: input_shape=(2, 4, 18446744073709551616, 6) has an extent outside",
        ),
        (lambda: ops.avg_pool2d_grad(pooled, (2, 4, 6), 3), "avg_pool2d_grad: x must have 4 axes (N, C, IH, IW), got 3"),
    ],
)
def test_shapes_are_shown_by_axis_name(run, message):
    """One sentence: where, what is wrong, with which numbers, all shapes by the names of their axes."""
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        run()


@pytest.mark.parametrize("axis", range(1, 4))
def test_zero_extents(axis):
    """Any zero extent but N's is a ValueError."""
    nothing = np.zeros([0 if i == axis else n for i, n in enumerate(x.shape)], np.float32)
    for run in (
        lambda: ops.conv2d(nothing, w),
        lambda: ops.max_pool2d(nothing, 1),
        lambda: ops.conv2d_weight_grad(x, nothing, 3),
        lambda: ops.bias_grad(nothing),
    ):
        with pytest.raises(ValueError, match=r"has \w+=0; only the batch N may be empty; got "):
            run()
    for axis in range(4):
        with pytest.raises(ValueError, match=r"w has .*=0; only the batch N may be empty"):
            ops.conv2d(x, np.zeros([0 if i == axis else n for i, n in enumerate(w.shape)], np.float32))


WRONG_DTYPES = ("float16", "longdouble", "int32", "uint8", "bool", "complex64", "object", ">f4", ">f8", "U4")


@pytest.mark.parametrize("dtype", WRONG_DTYPES)
@pytest.mark.parametrize(
    "op", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "bias_grad", "max_pool2d", "avg_pool2d_grad", "linear", "relu", "dropout"]
)
def test_dtypes(op, dtype):
    """Never cast silently: TypeError that names the argument and the conversion to write."""
    wrong = np.ones((1, 1, 1, 1)).astype(dtype)
    first, arguments = {
        "conv2d": ("x", (wrong, w)), "conv2d_input_grad": ("dy", (wrong, w, x.shape)), "conv2d_weight_grad": ("x", (wrong, dy, 3)),
        "bias_grad": ("dy", (wrong,)), "max_pool2d": ("x", (wrong, 1)), "avg_pool2d_grad": ("dy", (wrong, x.shape, 1)),
        "linear": ("x", (wrong[0, 0], w[0, 0])), "relu": ("x", (wrong,)), "dropout": ("x", (wrong, 0.5, 0)),
    }[op]  # fmt: skip
    with pytest.raises(
        TypeError, match=rf"^{op}: {first} has dtype .* float32 or float64 is needed: write np.asarray\({first}\).astype\(np.float32\)"
    ):
        getattr(ops, op)(*arguments)


def test_operands_are_alike():
    """Float32 and float64 do not mix, neither is cast."""
    with pytest.raises(TypeError, match=r"^conv2d: w is float64, but x is float32; all operands must be alike: write w.astype\(np.float32\)"):
        ops.conv2d(x, w.astype(np.float64))
    with pytest.raises(TypeError, match=r"^conv2d: b is float32, but x is float64"):
        ops.conv2d(x.astype(np.float64), w.astype(np.float64), b)
    with pytest.raises(TypeError, match=r"^conv2d_weight_grad: dy is float64, but x is float32"):
        ops.conv2d_weight_grad(x, dy.astype(np.float64), 3)


def test_what_is_no_array():
    """Masked arrays and `forward`'s pair say what to write; lists of floats are welcome."""
    with pytest.raises(TypeError, match=r"^conv2d: x is a masked array, .* write x.filled\(value\)"):
        ops.conv2d(np.ma.masked_array(x), w)
    with pytest.raises(TypeError, match=r"^conv2d: x is a tuple of 2; forward returns \(y, backward\): unpack it"):
        ops.conv2d((x, None), w)
    assert ops.conv1d([[[1.0, 2.0]]], [[[3.0]]]).tolist() == [[[3.0, 6.0]]]
    with pytest.raises(TypeError, match=r"^conv1d: x has dtype int64"):
        ops.conv1d([[[1, 2]]], [[[3.0]]])


NONE = {
    "conv2d": lambda: ops.conv2d(None, w),
    "conv2d w": lambda: ops.conv2d(x, None),
    "conv2d_input_grad": lambda: ops.conv2d_input_grad(None, w, x.shape),
    "conv2d_weight_grad": lambda: ops.conv2d_weight_grad(x, None, 3),
    "max_pool2d": lambda: ops.max_pool2d(None, 2),
    "linear": lambda: ops.linear(None, w[0, 0]),
    "relu": lambda: ops.relu(None),
    "bias_grad": lambda: ops.bias_grad(None),
}


@pytest.mark.parametrize("op", NONE)
def test_only_a_bias_may_be_none(op):
    """PyTorch's error is a ValueError or TypeError here."""
    with pytest.raises(TypeError, match=rf"^{op.split()[0]}: (x|w|dy) "):
        NONE[op]()


@pytest.mark.parametrize("shape", [None, 6, "6666", (2, 4, 6.0, 6), (2, True, 6, 6), (2, np.True_, 6, 6), (2, 4, None, 6)], ids=repr)
def test_input_shape(shape):
    """Gradient calls are checked like forward calls."""
    with pytest.raises(TypeError, match=r"^conv2d_input_grad: input_shape must "):
        ops.conv2d_input_grad(dy, w, shape)
    with pytest.raises(TypeError, match=r"^max_pool2d_grad: input_shape must "):
        ops.max_pool2d_grad(pooled, argmax, shape, 3)
