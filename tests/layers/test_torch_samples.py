"""PyTorch's own samples of each function of elements and each normalization that is a layer here: outputs and all gradients."""

import re
from typing import NamedTuple

import numpy as np
import pytest

from fastconv import layers

torch = pytest.importorskip("torch")
samples = pytest.importorskip("torch.testing._internal.common_methods_invocations")


class Normalization(NamedTuple):
    """A layer, and the tensors that are its weight and bias in PyTorch, None where there is none."""

    layer: layers.Layer
    weight: object = None
    bias: object = None


def with_parameters(layer: layers.Layer, weight, bias) -> Normalization:
    for p, tensor in ((layer.weight, weight), (layer.bias, bias)):
        if tensor is not None:
            p.value = tensor.detach().numpy()
    return Normalization(layer, weight, bias)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    return with_parameters(layers.GroupNorm(num_groups, x.shape[1], eps, affine=weight is not None or bias is not None), weight, bias)


def instance_norm(x, weight=None, bias=None, eps=1e-5, **running):
    kind = getattr(layers, f"InstanceNorm{x.ndim - 2}d")
    return with_parameters(kind(x.shape[1], eps, affine=weight is not None or bias is not None), weight, bias)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    return with_parameters(layers.LayerNorm(normalized_shape, eps, weight is not None, bias is not None), weight, bias)


LAYERS = {  # of x and the arguments of PyTorch's function
    "nn.functional.relu": lambda x: layers.ReLU(),
    "nn.functional.leaky_relu": lambda x, *args: layers.LeakyReLU(*args),
    "nn.functional.elu": lambda x, **words: layers.ELU(**words),
    "nn.functional.gelu": lambda x, **words: layers.GELU(**words),
    "nn.functional.silu": lambda x: layers.SiLU(),
    "nn.functional.hardswish": lambda x: layers.Hardswish(),
    "nn.functional.softplus": lambda x, **words: layers.Softplus(**words),
    "sigmoid": lambda x: layers.Sigmoid(),
    "tanh": lambda x: layers.Tanh(),
    "softmax": lambda x, dim, dtype=None: layers.Softmax(dim),
    "log_softmax": lambda x, dim, dtype=None: layers.LogSoftmax(dim),
    "nn.functional.group_norm": group_norm,
    "nn.functional.instance_norm": instance_norm,
    "nn.functional.layer_norm": layer_norm,
}
NO_AXIS, NO_EPS = r"\w+: dim=0 is not an axis of x\(\)", r"\w+: eps must be finite and >= 0, got -0.5"
REFUSED = {  # how many samples, and in which words
    "softmax": (1, NO_AXIS),
    "log_softmax": (1, NO_AXIS),
    "nn.functional.group_norm": (4, NO_EPS),
    "nn.functional.layer_norm": (1, NO_EPS),
}
OPS = {op.name: op for op in samples.op_db if op.name in LAYERS and not op.variant_test_name}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_pytorchs_function(name):
    ran, refused = 0, []
    for sample in OPS[name].sample_inputs("cpu", torch.float32, requires_grad=True):
        x = sample.input.detach().numpy()
        try:
            made = LAYERS[name](x, *sample.args, **sample.kwargs)
            layer, weight, bias = made if isinstance(made, Normalization) else Normalization(made)
            y, backward = layer.forward(x)
        except ValueError as error:
            refused.append(str(error))
            continue
        expected = OPS[name](sample.input, *sample.args, **sample.kwargs)
        np.testing.assert_allclose(y, expected.detach().numpy(), 2e-5, 2e-5, strict=True)
        dy = np.random.default_rng(ran).standard_normal(y.shape, np.float32)
        tensors = {"x": sample.input} | {word: tensor for word, tensor in (("weight", weight), ("bias", bias)) if tensor is not None}
        theirs = dict(zip(tensors, torch.autograd.grad(expected, tensors.values(), torch.from_numpy(dy))))
        ours = {"x": backward(dy)} | {word: getattr(layer, word).grad for word in tensors if word != "x"}
        rounding = 1e-3 if made is not layer else 2e-5  # a single element's 1 / sqrt(0 + eps) makes much of it, and the sum of it and its mean 0
        for word, tensor in theirs.items():
            np.testing.assert_allclose(ours[word], tensor.numpy(), 2e-5, rounding, err_msg=word, strict=True)
        ran += 1
    count, words = REFUSED.get(name, (0, ""))
    assert ran > count
    assert [bool(re.fullmatch(words, text)) for text in refused] == [True] * count
