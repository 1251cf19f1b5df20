"""Options of layers that are refused by name: flags, generators, sizes that no machine holds."""

import numpy as np
import pytest

from fastconv import layers

FLAGS = {
    "bias": (lambda v: layers.Conv1d(1, 1, 1, bias=v), lambda v: layers.ConvTranspose2d(1, 1, 1, bias=v), lambda v: layers.Linear(1, 1, bias=v)),
    "fuse": (lambda v: layers.Sequential(fuse=v),),
    "affine": (lambda v: layers.BatchNorm1d(1, affine=v),),
    "track_running_stats": (lambda v: layers.BatchNorm2d(1, track_running_stats=v),),
    "ceil_mode": (lambda v: layers.MaxPool2d(2, ceil_mode=v), lambda v: layers.AvgPool1d(2, ceil_mode=v)),
    "count_include_pad": (lambda v: layers.AvgPool3d(2, count_include_pad=v),),
}


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, makers in FLAGS.items() for make in makers])
@pytest.mark.parametrize("value", ["no", 0, 1, None, 0.0])
def test_an_option_that_is_true_or_false_is_nothing_else(name, make, value):
    with pytest.raises(TypeError, match=rf"^\w+: {name} must be True or False, got {value!r}$"):
        make(value)


RANDOM = (
    lambda v: layers.Dropout(rng=v),
    lambda v: layers.Linear(1, 1, rng=v),
    lambda v: layers.Conv2d(1, 1, 1, rng=v),
    lambda v: layers.ConvTranspose1d(1, 1, 1, rng=v),
)


@pytest.mark.parametrize("make", RANDOM)
@pytest.mark.parametrize("value", [5, 0, np.random.RandomState(3), np.random, "a"])
def test_rng_is_a_numpy_generator_or_none(make, value):
    with pytest.raises(TypeError, match=r"^\w+: rng must be a NumPy generator, got .*: write np\.random\.default_rng\(seed\)$"):
        make(value)


def test_batch_norm_of_no_dtype_is_refused_as_elsewhere():
    with pytest.raises(TypeError, match=r"^BatchNorm1d: dtype must be float32 or float64, got None$"):
        layers.BatchNorm1d(3, dtype=None)


def test_flatten_needs_a_batch_axis():
    for call, given in ((layers.Flatten(), np.float32(3)), (layers.Flatten().output_shape, ())):
        with pytest.raises(ValueError, match=r"^Flatten: x must have at least 1 axis \(N, \.\.\.\), got x\(\)$"):
            call(given)
    assert layers.Flatten()(np.ones(3, np.float32)).shape == (3, 1)


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (lambda: layers.Linear(2**31 - 1, 2**31 - 1), "in_features=2147483647, out_features=2147483647"),
        (lambda: layers.Conv2d(10**9, 10**9, 3), r"in_channels=1000000000, out_channels=1000000000, kernel_size=\(3, 3\), groups=1"),
        (lambda: layers.Conv3d(1, 1, 2**30), r"in_channels=1, out_channels=1, kernel_size=\(1073741824, 1073741824, 1073741824\), groups=1"),
    ],
)
def test_a_layer_that_no_machine_can_address_is_a_value_error(make, sizes):
    """Element counts that overflow raise before anything is allocated."""
    with pytest.raises(ValueError, match=rf"^\w+: {sizes} make a weight \([\d, ]+\) with more elements than this machine can address$"):
        make()


def test_a_layer_that_this_machine_has_no_memory_for_says_which():
    """A weight of as many bytes as a 64-bit processor gives a process."""
    with pytest.raises(MemoryError, match=r"^Linear: no memory for the weight \(4194304, 4194304\) of in_features=4194304, out_features=4194304$"):
        layers.Linear(2**22, 2**22)
