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


class Concat(nn.Module):
    def __init__(self, *branches: nn.Module):
        super().__init__()
        for i, branch in enumerate(branches):
            self.add_module(str(i), branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


def as_torch(layer: layers.Layer | None) -> nn.Module:
    """PyTorch's module of a layer that `fastconv.models` uses, with values of its own; None is the identity. TypeError for others."""
    match layer:
        case None:
            return nn.Identity()
        case layers.Sequential():
            return nn.Sequential(*map(as_torch, layer.layers))
        case layers.Residual():
            return Residual(as_torch(layer.body), as_torch(layer.shortcut))
        case layers.Concat():
            return Concat(*map(as_torch, layer.branches))
        case layers.Conv1d() | layers.Conv2d() | layers.ConvTranspose2d():
            padding = layer.words["padding"]
            if isinstance(padding, tuple):  # pairs; PyTorch pads both sides alike
                padding = tuple(before for before, _ in padding)
            words = layer.words | {"padding": padding, "bias": layer.bias is not None}
            return getattr(nn, type(layer).__name__)(layer.in_channels, layer.out_channels, layer.kernel_size, **words)
        case layers.BatchNorm1d() | layers.BatchNorm2d():
            return getattr(nn, type(layer).__name__)(layer.num_features, layer.eps, layer.momentum)
        case layers.Linear():
            return nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
        case layers.MaxPool1d() | layers.MaxPool2d():
            return getattr(nn, type(layer).__name__)(layer.kernel_size, layer.stride)
        case layers.GlobalAvgPool2d():
            return nn.AdaptiveAvgPool2d(1)
        case layers.AdaptiveAvgPool1d():
            return nn.AdaptiveAvgPool1d(layer.output_size)
        case layers.ReLU():
            return nn.ReLU()
        case layers.Dropout():
            return nn.Dropout(layer.p)
        case layers.Flatten():
            return nn.Flatten()
    raise TypeError(f"as_torch: no module for {layer!r}")
