"""The named nets in PyTorch: the same layers under the same names, so that state dicts go both ways."""

import torch
from torch import nn

from fastconv import layers


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


def as_torch(layer: layers.Layer | None) -> nn.Module:
    """PyTorch's module of a layer that `fastconv.models` uses, with values of its own; None is the identity. TypeError for others."""
    match layer:
        case None:
            return nn.Identity()
        case layers.Sequential():
            return nn.Sequential(*map(as_torch, layer.layers))
        case layers.Residual():
            return Residual(as_torch(layer.body), as_torch(layer.shortcut))
        case layers.Conv2d():
            padding = layer.words["padding"]
            if isinstance(padding, tuple):  # pairs; PyTorch pads both sides alike
                padding = tuple(before for before, _ in padding)
            words = layer.words | {"padding": padding}
            return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, bias=layer.bias is not None, **words)
        case layers.BatchNorm2d():
            return nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
        case layers.Linear():
            return nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
        case layers.MaxPool2d():
            return nn.MaxPool2d(layer.kernel_size, layer.stride)
        case layers.GlobalAvgPool2d():
            return nn.AdaptiveAvgPool2d(1)
        case layers.ReLU():
            return nn.ReLU()
        case layers.Dropout():
            return nn.Dropout(layer.p)
        case layers.Flatten():
            return nn.Flatten()
    raise TypeError(f"as_torch: no module for {layer!r}")
