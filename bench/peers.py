"""Who computes convolutions: this package, PyTorch in both of its layouts, and the everyday NumPy.

Each peer gets the same numbers, laid out as it likes best, and gives a call per pass. What a training step must do each time is inside the
call: allocating the result, packing weights, im2col. The bias is added in the forward pass, its gradient belongs to the weights' for everybody.
"""

import re
from collections.abc import Callable

import numpy as np

from bench.layer import Layer, parse
from fastconv.ops.layout import activation


class Peer:
    label: str
    version: str
    parse = staticmethod(parse)  # what a line of a request means

    def __init__(self, threads: int):
        """Ready to compute; the threads of NumPy and Numba come from the environment."""

    @staticmethod
    def fits(layer: Layer) -> bool:
        return True

    def calls(self, layer: Layer) -> dict[str, Callable]:
        """A call per pass; its operands are made already."""
        raise NotImplementedError  # each peer has its own

    def arrays(self, result) -> tuple[np.ndarray, ...]:
        """What a call gave, in PyTorch's shapes: (y,), (dx,) or (dw, db)."""
        return result if isinstance(result, tuple) else (result,)

    def flops(self, layer: Layer) -> float:
        """Of one call."""
        return layer.g.flops

    def forget(self) -> None:
        """Free what is kept for the next call."""


class Ours(Peer):
    label = "fastconv"

    def __init__(self, threads: int):
        import fastconv as fc

        fc.set_num_threads(threads)
        self.fc, self.version = fc, f"fastconv {fc.__version__}"

    def calls(self, layer):
        ops, words = self.fc.ops, layer.words
        op = f"conv_transpose{layer.g.rank}d" if layer.transposed else f"conv{layer.g.rank}d"
        forward, input_grad, weight_grad = (getattr(ops, op + end) for end in ("", "_input_grad", "_weight_grad"))
        x, w, b, dy = layer.operands()
        x, dy, w = self._as_layers_meet_it(x), self._as_layers_meet_it(dy), self._as_layers_hold_it(w)
        return {
            "forward": lambda: forward(x, w, b, **words),
            "input_grad": lambda: input_grad(dy, w, x.shape, **words),
            "weight_grad": lambda: weight_grad(x, dy, w.shape[2:], return_bias_grad=True, **words),
        }

    def _as_layers_meet_it(self, x: np.ndarray) -> np.ndarray:
        copy, _ = activation(x.shape, x.dtype).empty()
        copy[...] = x
        return copy

    def _as_layers_hold_it(self, w: np.ndarray) -> np.ndarray:
        return self.fc.layers.Parameter(w, tuple(range(2, w.ndim)) + (1, 0)).value

    def forget(self):
        self.fc.memory.shelves.clear()


class Torch(Peer):
    label = "PyTorch NCHW"

    def __init__(self, threads: int):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)  # the passes are called by name: no tape
        self.torch = torch
        onednn = re.search(r"(?:oneDNN|MKL-DNN) v([\d.]+)", torch.__config__.show())
        self.version = f"PyTorch {torch.__version__}" + (f" (oneDNN {onednn[1]})" if onednn else "")

    def layout(self, layer: Layer) -> dict:
        return {}

    def calls(self, layer):
        torch, rank = self.torch, layer.g.rank
        S, P, D, G = (layer.words[name] for name in ("stride", "padding", "dilation", "groups"))
        # clone: from PyTorch's own allocator, whose arrays start on cache lines
        x, w, b, dy = (torch.from_numpy(a).clone() for a in layer.operands())
        x, w, dy = (a.to(**self.layout(layer)) if self.layout(layer) else a for a in (x, w, dy))
        words = [S] * rank, [P] * rank, [D] * rank, layer.transposed, [0] * rank, G
        forward, backward = torch.convolution, torch.ops.aten.convolution_backward
        grads = dy, x, w, [b.numel()], *words
        return {
            "forward": lambda: forward(x, w, b, *words),
            "input_grad": lambda: backward(*grads, [True, False, False])[0],
            "weight_grad": lambda: backward(*grads, [False, True, True])[1:],
        }

    def arrays(self, result):
        return tuple(tensor.numpy() for tensor in super().arrays(result))


class TorchChannelsLast(Torch):
    label = "PyTorch channels_last"

    @staticmethod
    def fits(layer):
        return layer.g.rank > 1  # PyTorch has no such layout for one axis

    def layout(self, layer):
        return {"memory_format": self.torch.channels_last_3d if layer.g.rank == 3 else self.torch.channels_last}


class Im2col(Peer):
    label = "im2col + NumPy"
    version = ""  # NumPy's stands in every report

    @staticmethod
    def fits(layer):
        return not layer.transposed

    def calls(self, layer):
        x, w, b, dy = layer.operands()
        return {
            "forward": lambda: self.forward(layer, x, w, b),
            "input_grad": lambda: self.input_grad(layer, dy, w),
            "weight_grad": lambda: self.weight_grad(layer, x, dy),
        }

    def columns(self, layer, x):
        """(G, N * OH * OW, IC/G * KH * KW)"""
        g, rank = layer.g, layer.g.rank
        S, P, D = (layer.words[name] for name in ("stride", "padding", "dilation"))
        x = np.pad(x, ((0, 0), (0, 0)) + ((P, P),) * rank)
        window = tuple(D * (K - 1) + 1 for K in g.weight_shape[2:])
        windows = np.lib.stride_tricks.sliding_window_view(x, window, tuple(range(2, 2 + rank)))
        windows = windows[(..., *(slice(None, None, S),) * rank, *(slice(None, None, D),) * rank)]
        windows = np.moveaxis(windows.reshape(g.N, g.G, g.IC // g.G, *windows.shape[2:]), (1, 2), (0, 2 + rank))
        return windows.reshape(g.G, -1, g.IC // g.G * g.taps)

    def rows(self, layer, dy):
        """(G, N * OH * OW, OC/G)"""
        g = layer.g
        return np.moveaxis(dy.reshape(g.N, g.G, g.OC // g.G, -1), (1, 2), (0, 3)).reshape(g.G, -1, g.OC // g.G)

    def forward(self, layer, x, w, b):
        g = layer.g
        y = self.columns(layer, x) @ w.reshape(g.G, g.OC // g.G, -1).swapaxes(1, 2) + b.reshape(g.G, 1, -1)
        return np.moveaxis(y.reshape(g.G, g.N, -1, g.OC // g.G), (0, 3), (1, 2)).reshape(g.output_shape)

    def input_grad(self, layer, dy, w):
        g, rank = layer.g, layer.g.rank
        S, P, D = (layer.words[name] for name in ("stride", "padding", "dilation"))
        columns = self.rows(layer, dy) @ w.reshape(g.G, g.OC // g.G, -1)
        columns = columns.reshape(g.G, g.N, *g.output_shape[2:], g.IC // g.G, *g.weight_shape[2:])
        dx = np.zeros((g.N, g.G, g.IC // g.G, *(I + 2 * P for I in g.input_shape[2:])), dy.dtype)
        for tap in np.ndindex(*g.weight_shape[2:]):
            seen = (..., *(slice(k * D, k * D + S * (O - 1) + 1, S) for k, O in zip(tap, g.output_shape[2:])))
            dx[seen] += np.moveaxis(columns[(..., *tap)], (0, 2 + rank), (1, 2))
        return dx[(..., *(slice(P, P + I) for I in g.input_shape[2:]))].reshape(g.input_shape)

    def weight_grad(self, layer, x, dy):
        rows = self.rows(layer, dy)
        return (rows.swapaxes(1, 2) @ self.columns(layer, x)).reshape(layer.g.weight_shape), rows.sum(1).ravel()


PEERS = {"nchw": Torch, "channels_last": TorchChannelsLast, "im2col": Im2col}
TORCH = ("nchw", "channels_last")
