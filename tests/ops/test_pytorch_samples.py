"""PyTorch's own samples of the operations that are here, too: outputs and gradients of the same calls.

A sample that does not run says why; all other reasons, and too few samples that run, fail the test.
"""

import warnings
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from fastconv import ops

FIRST = 300  # samples of an operation are drawn,
AT_MOST = 20  # and so many, spread over them, are run
REASONS = {
    "no batch axis", "an extent of 0", "more axes than (N, features)", "padding of channels", "more than 3 spatial axes", "no spatial axis",
    "recompute_scale_factor", "a divisor below 1",
}  # fmt: skip


class Skip(Exception):
    """Why a sample cannot run."""


def by_rank(name: str, rank: int):
    return getattr(ops, name.format(rank))


def convolution(rank):
    def run(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
        words = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        batch(rank, x)

        def backward(dy):
            dw, db = by_rank("conv{}d_weight_grad", rank)(x, dy, w.shape[2:], return_bias_grad=True, **words)
            return by_rank("conv{}d_input_grad", rank)(dy, w, x.shape, **words), dw, db

        return by_rank("conv{}d", rank)(x, w, b, **words), backward

    return run


def transposed(rank):
    def run(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        words = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation, "groups": groups}
        batch(rank, x)

        def backward(dy):
            dw, db = by_rank("conv_transpose{}d_weight_grad", rank)(x, dy, w.shape[2:], return_bias_grad=True, **words)
            return by_rank("conv_transpose{}d_input_grad", rank)(dy, w, x.shape, **words), dw, db

        return by_rank("conv_transpose{}d", rank)(x, w, b, **words), backward

    return run


def max_pool(rank):
    def run(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        words = {"stride": stride or None, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
        batch(rank, x)
        y, argmax = by_rank("max_pool{}d", rank)(x, kernel_size, **words)
        found = (y, ops.flat_indices(argmax, x.shape, kernel_size, **words)) if return_indices else y
        return found, lambda dy: (by_rank("max_pool{}d_grad", rank)(dy, argmax, x.shape, kernel_size, **words),)

    return run


def avg_pool(rank):
    def run(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        words = {"padding": padding, "ceil_mode": ceil_mode, "count_include_pad": count_include_pad, "divisor_override": divisor_override}
        words["stride"] = stride or None
        batch(rank, x)
        if divisor_override is not None and divisor_override < 1:
            raise Skip("a divisor below 1")
        backward = lambda dy: (by_rank("avg_pool{}d_grad", rank)(dy, x.shape, kernel_size, **words),)  # noqa: E731
        return by_rank("avg_pool{}d", rank)(x, kernel_size, **words), backward

    return run


def sized(x, output_size):
    """None in an output size: the input's."""
    return tuple(i if o is None else o for i, o in zip(x.shape[2:], output_size)) if isinstance(output_size, (tuple, list)) else output_size


def adaptive_avg_pool(rank):
    def run(x, output_size):
        batch(rank, x)
        return by_rank("adaptive_avg_pool{}d", rank)(x, sized(x, output_size)), lambda dy: (by_rank("adaptive_avg_pool{}d_grad", rank)(dy, x.shape),)

    return run


def adaptive_max_pool(rank):
    def run(x, output_size, return_indices=False):
        batch(rank, x)
        y, argmax = by_rank("adaptive_max_pool{}d", rank)(x, sized(x, output_size))
        backward = lambda dy: (by_rank("adaptive_max_pool{}d_grad", rank)(dy, argmax, x.shape),)  # noqa: E731
        return ((y, ops.adaptive_flat_indices(argmax, x.shape)) if return_indices else y), backward

    return run


def max_unpool(rank):
    def run(x, indices, kernel_size, stride=None, padding=0, output_size=None):
        batch(rank, x)
        y = by_rank("max_unpool{}d", rank)(x, indices, kernel_size, stride=stride, padding=padding, output_size=output_size)
        return y, lambda dy: (by_rank("max_unpool{}d_grad", rank)(dy, indices),)

    return run


def pad(x, pad, mode="constant", value=None):
    spatial(x)
    if len(pad) > 2 * (x.ndim - 2):
        raise Skip("padding of channels")
    return ops.pad(x, pad, mode=mode, value=value or 0), lambda dy: (ops.pad_grad(dy, x.shape, pad, mode=mode),)


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
    spatial(x)
    if recompute_scale_factor:
        raise Skip("recompute_scale_factor")
    words = {"mode": mode, "align_corners": align_corners}
    return ops.upsample(x, size, scale_factor, **words), lambda dy: (ops.upsample_grad(dy, x.shape, size, scale_factor, **words),)


def upsample_bilinear(x, size=None, scale_factor=None):
    return interpolate(x, size, scale_factor, "bilinear", True)


def linear(x, w, b=None):
    if x.ndim != 2 or w.ndim != 2:
        raise Skip("more axes than (N, features)" if x.ndim > 2 else "no batch axis")
    filled(x, w)
    return ops.linear(x, w, b), lambda dy: (ops.linear_input_grad(dy, w), ops.linear_weight_grad(x, dy), ops.bias_grad(dy))


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    batch(0, x)
    C = x.shape[1]
    mean, var = ops.batch_statistics(x) if training else (running_mean, running_var)
    weight, bias = np.ones(C, x.dtype) if weight is None else weight, np.zeros(C, x.dtype) if bias is None else bias
    return ops.batch_norm(x, mean, var, weight, bias, eps=eps), None  # its gradient is that of training alone


def relu(x):
    if x.ndim < 2:
        raise Skip("no batch axis")
    y = ops.relu(x)
    return y, lambda dy: (ops.relu_grad(dy, y),)


def filled(*arrays) -> None:
    if any(0 in a.shape[1:] for a in arrays):
        raise Skip("an extent of 0")


def batch(rank: int, x) -> None:
    if x.ndim < rank + 2:
        raise Skip("no batch axis")
    filled(x)


def spatial(x) -> None:
    if not 3 <= x.ndim <= 5:
        raise Skip("no spatial axis" if x.ndim < 3 else "more than 3 spatial axes")
    filled(x)


SAMPLES = {  # PyTorch's name and variant: the same call here, and how many samples run at least
    **{(f"conv{r}d", ""): (convolution(r), least) for r, least in zip((1, 2, 3), (5, 10, 5))},
    **{(f"conv_transpose{r}d", ""): (transposed(r), 4) for r in (1, 2, 3)},
    **{(f"max_pool{r}d", ""): (max_pool(r), 5) for r in (1, 2, 3)},
    **{(f"avg_pool{r}d", ""): (avg_pool(r), 4) for r in (1, 2, 3)},
    **{(f"adaptive_avg_pool{r}d", ""): (adaptive_avg_pool(r), 3) for r in (1, 2, 3)},
    **{(f"adaptive_max_pool{r}d", ""): (adaptive_max_pool(r), 3) for r in (1, 2, 3)},
    **{(f"max_unpool{r}d", ""): (max_unpool(r), 5) for r in (1, 2, 3)},
    **{("pad", mode): (pad, 4) for mode in ("constant", "reflect", "replicate", "replicate_negative", "circular")},
    **{("interpolate", mode): (interpolate, 8) for mode in ("nearest", "linear", "bilinear", "trilinear")},
    ("upsample_nearest", ""): (interpolate, 8),
    ("upsample_bilinear", ""): (upsample_bilinear, 3),
    ("linear", ""): (linear, 4),
    ("batch_norm", ""): (batch_norm, 4),
    ("relu", ""): (relu, 1),
}


def samples(name: str, variant: str, dtype: str):
    """The operation as PyTorch has it, and its samples."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own
        from torch.testing._internal.common_methods_invocations import op_db

        op = next(op for op in op_db if op.name == f"nn.functional.{name}" and op.variant_test_name == variant)
        torch.manual_seed(0)
        drawn = list(islice(op.sample_inputs("cpu", getattr(torch, dtype), requires_grad=True), FIRST))
    return op, drawn[:: -(-len(drawn) // AT_MOST)]


def as_numpy(value):
    return value.detach().numpy() if hasattr(value, "detach") else value


def tensors(sample) -> list:
    """The operands of which there are gradients, in the order of a call."""
    operands = (sample.input, *sample.args, *sample.kwargs.values())
    return [operand for operand in operands if getattr(operand, "requires_grad", False)]


def compare(op, sample, run) -> None:
    torch = pytest.importorskip("torch")
    arguments = [as_numpy(value) for value in (sample.input, *sample.args)]
    found, backward = run(*arguments, **{name: as_numpy(value) for name, value in sample.kwargs.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of same-padding with even kernels
        expected = op(sample.input, *sample.args, **sample.kwargs)
    if isinstance(expected, tuple):
        np.testing.assert_array_equal(found[1], as_numpy(expected[1]))
        found, expected = found[0], expected[0]
    close(found, as_numpy(expected))
    operands = tensors(sample)
    if backward is None or not expected.numel():
        return
    dy = torch.randn_like(expected)
    for gradient, wanted in zip(backward(dy.numpy()), torch.autograd.grad(expected, operands, dy)):
        close(gradient, wanted.numpy())


def close(found: np.ndarray, expected: np.ndarray) -> None:
    u = np.finfo(expected.dtype).eps
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=100 * u, atol=100 * u * max(1, abs(expected).max(initial=0)))


@pytest.mark.parametrize(
    ("name", "variant", "dtype"), [(*key, "float32") for key in SAMPLES] + [("avg_pool2d", "", "float64"), ("interpolate", "bilinear", "float64")]
)
def test_pytorch_samples(name, variant, dtype):
    run, least = SAMPLES[name, variant]
    op, drawn = samples(name, variant, dtype)
    skipped = Counter()
    for sample in drawn:
        try:
            compare(op, sample, run)
        except Skip as reason:
            skipped[str(reason)] += 1
        except Exception as error:
            raise AssertionError(f"{name} {variant}: {sample.summary()}") from error
    assert skipped.keys() <= REASONS
    assert len(drawn) - skipped.total() >= least, skipped
