"""Who runs single layers: this package, PyTorch in both of its layouts, and NumPy's BLAS for fully connected ones.

A tiny layer's one call is a whole training pass as a user writes it: forward, then backward with the input's gradient. A Linear's calls are its
three passes, the weights as each side holds them; the bias's gradient belongs to the weights' for everybody. Layers that only move memory run on
large arrays, forward and backward alone.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from bench.peers import Ours, Peer, Torch, TorchChannelsLast

N, C, H, W = 2, 8, 6, 6


class Task(NamedTuple):
    line: str  # its name: a tiny layer's, "linear N I O", or a layer that moves memory, with its channels
    x_shape: tuple[int, ...]
    O: int = 0  # of a Linear whose passes are timed apart
    kind: str = ""  # of a layer that moves memory, and its options
    options: tuple = ()

    @property
    def flops(self) -> float:
        return 2.0 * np.prod(self.x_shape) * max(self.O, 1)

    def arrays(self, *shapes: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.standard_normal(shape, np.float32) for shape in shapes]

    def linear(self) -> list[np.ndarray]:
        """x (N, I), w (I, O), b (O,), dy (N, O)"""
        (n, i), o = self.x_shape, self.O
        return self.arrays((n, i), (i, o), (o,), (n, o))


IMAGES = (N, C, H, W)
TINY = {name: Task(name, (N, C) if name == "Linear" else IMAGES) for name in ("Conv2d", "Linear", "ReLU", "MaxPool2d", "BatchNorm2d")}
SIZES = (32, 2304, 512), (32, 2592, 256), (64, 9216, 128), (128, 400, 120)  # N, I, O
LINEAR = {f"linear {n} {i} {o}": Task(f"linear {n} {i} {o}", (n, i), o) for n, i, o in SIZES}


def _moves(kind: str, shown: str = "", **options) -> dict[str, Task]:
    """A layer on 64 images of 32 x 32 pixels, for few channels and for many."""
    lines = {C: f"{kind}{shown}, {C} channels" for C in (6, 16, 64)}
    return {line: Task(line, (64, C, 32, 32), kind=kind, options=tuple(options.items())) for C, line in lines.items()}


MEMORY = {
    **_moves("MaxPool2d", " 2", kernel_size=2),
    **_moves("MaxPool2d", " 3 stride 2", kernel_size=3, stride=2, padding=1),
    **_moves("MaxPool2d", " 3 stride 1", kernel_size=3, stride=1, padding=1),
    **_moves("AvgPool2d", " 2", kernel_size=2),
    **_moves("AvgPool2d", " global", kernel_size=32),
    **_moves("BatchNorm2d"),
    **_moves("GroupNorm"),
    **_moves("ReLU"),
    **_moves("SiLU"),
    **_moves("GELU"),
}
TASKS = TINY | LINEAR | MEMORY
PASSES = ("forward", "input_grad", "weight_grad")
ALONE = ("forward", "backward")


def _options(task: Task) -> dict:
    """What its layer is made with."""
    C = task.x_shape[1]
    return {"BatchNorm2d": {"num_features": C}, "GroupNorm": {"num_groups": 2, "num_channels": C}}.get(task.kind, dict(task.options))


class _Passes(Peer):
    parse = staticmethod(TASKS.__getitem__)

    def flops(self, task: Task) -> float:
        return task.flops

    def calls(self, task: Task) -> dict[str, Callable]:
        if task.kind:
            return self.alone(task, *task.arrays(task.x_shape), _options(task))
        return self.linear(*task.linear()) if task.O else {"both": self.layer(task)}


class OursPasses(_Passes, Ours):
    def layer(self, task):
        layers = self.fc.layers
        conv, linear = partial(layers.Conv2d, C, C, 3, padding=1), partial(layers.Linear, C, C)
        pool, norm = partial(layers.MaxPool2d, 2), partial(layers.BatchNorm2d, C)
        self.fc.seed(0)
        layer = {"Conv2d": conv, "Linear": linear, "ReLU": layers.ReLU, "MaxPool2d": pool, "BatchNorm2d": norm}[task.line]()
        (x,) = task.arrays(task.x_shape)
        x = self._as_layers_meet_it(x) if x.ndim > 2 else x
        (dy,) = task.arrays(layer.output_shape(x.shape), seed=1)
        dy = self._as_layers_meet_it(dy) if dy.ndim > 2 else dy
        layer.forward(x)[1](dy)  # gradients are there: what follows adds

        def both():
            _, backward = layer.forward(x)
            return backward(dy)

        return both

    def alone(self, task, x, options):
        """Backward without what its layer makes sure of, since a backward function runs once; and a copy of x and y to as much memory."""
        from fastconv.ops.group_norm import group_normalization
        from fastconv.ops.norm import Kept, Options, normalization
        from fastconv.ops.passes import map_passes

        x, C = self._as_layers_meet_it(x), task.x_shape[1]
        layer = getattr(self.fc.layers, task.kind)(**options)
        (dy,) = task.arrays(layer.output_shape(x.shape), seed=1)
        dy, copied = self._as_layers_meet_it(dy), np.ones((x.size + dy.size) // 2, np.float32)
        to = np.empty_like(copied)
        if task.kind == "BatchNorm2d":
            passes, saved = normalization(x.shape, x.dtype, Options()), np.empty(2 * C)
            kept, gradients = Kept(x, (layer.weight.memory, layer.bias.memory), saved), (np.empty(C, np.float32), np.empty(C, np.float32))
            passes.forward(x, kept.parameters, saved)

            def backward():
                return passes.backward(dy, kept, gradients)[0]

        elif task.kind == "GroupNorm":
            passes, parameters = group_normalization(x.shape, x.dtype, layer.num_groups, layer.eps), (layer.weight.memory, layer.bias.memory)
            saved = np.empty(passes.saved)
            passes.forward(x, parameters, saved)

            def backward():
                return passes.backward(dy, x, parameters, saved, True, True)[0]

        elif task.kind in ("ReLU", "SiLU", "GELU"):
            passes = map_passes(x.shape, x.dtype, task.kind.lower(), (0.0, 0.0))
            backward = partial(passes.input_grad, dy, passes.forward(x) if passes.of == "y" else x)
        else:
            _, passes, divisors = layer.bound(x)
            kept = passes.max(x)[1:] if task.kind == "MaxPool2d" else divisors
            backward = partial(passes.max_grad if task.kind == "MaxPool2d" else passes.mean_grad, dy, *kept)
        return {"forward": lambda: layer.forward(x)[0], "backward": backward, "copy": lambda: np.copyto(to, copied)}

    def linear(self, x, w, b, dy):
        ops, dw = self.fc.ops, np.empty_like(w)
        return {
            "forward": lambda: ops.linear(x, w.T, b),
            "input_grad": lambda: ops.linear_input_grad(dy, w.T),
            "weight_grad": lambda: ops.linear_weight_grad(x, dy, out=dw.T, return_bias_grad=True),
        }

    def arrays(self, result):
        return tuple(np.ascontiguousarray(a) for a in super().arrays(result))


class TorchPasses(_Passes, Torch):
    def __init__(self, threads: int):
        super().__init__(threads)
        self.torch.set_grad_enabled(True)

    def layer(self, task):
        torch, nn = self.torch, self.torch.nn
        conv, linear = partial(nn.Conv2d, C, C, 3, padding=1), partial(nn.Linear, C, C)
        pool, norm = partial(nn.MaxPool2d, 2), partial(nn.BatchNorm2d, C)
        module = {"Conv2d": conv, "Linear": linear, "ReLU": nn.ReLU, "MaxPool2d": pool, "BatchNorm2d": norm}[task.line]()
        self.load(task.line, module)
        layout = self.layout(task) if len(task.x_shape) == 4 else {}
        module = module.to(**layout)
        (x,) = task.arrays(task.x_shape)
        x = torch.from_numpy(x).to(**layout).requires_grad_()
        (dy,) = task.arrays(tuple(module(x).shape), seed=1)
        dy = torch.from_numpy(dy).to(**layout)

        def both():
            x.grad = None
            module(x).backward(dy)
            return x.grad

        return both

    def alone(self, task, x, options):
        torch, nn, layout = self.torch, self.torch.nn, self.layout(task)
        module, x = getattr(nn, task.kind)(**options).to(**layout), torch.from_numpy(x).to(**layout).requires_grad_()
        y = module(x)
        (dy,) = task.arrays(tuple(y.shape), seed=1)
        dy, wanted = torch.from_numpy(dy).to(**layout), (x, *module.parameters())
        return {"forward": lambda: module(x), "backward": lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)[0]}

    def load(self, name: str, module) -> None:
        """The weights that fastconv's layer has after the same seed."""
        import fastconv as fc

        fc.seed(0)
        ours = {"Conv2d": lambda: fc.layers.Conv2d(C, C, 3, padding=1), "Linear": lambda: fc.layers.Linear(C, C)}
        if name in ours:
            module.load_state_dict({key: self.torch.from_numpy(value) for key, value in ours[name]().state_dict().items()})

    def linear(self, x, w, b, dy):
        torch = self.torch
        torch.set_grad_enabled(False)
        x, w, b, dy = (torch.from_numpy(a).clone() for a in (x, np.ascontiguousarray(w.T), b, dy))
        return {
            "forward": lambda: torch.addmm(b, x, w.t()),
            "input_grad": lambda: dy.mm(w),
            "weight_grad": lambda: (dy.t().mm(x), dy.sum(0)),
        }

    def arrays(self, result):
        return tuple(tensor.detach().numpy() for tensor in Peer.arrays(self, result))


class TorchPassesChannelsLast(TorchPasses):
    label = TorchChannelsLast.label

    def layout(self, task):
        return {"memory_format": self.torch.channels_last}


class NumPyPasses(_Passes):
    label = "NumPy's BLAS"
    version = ""

    def linear(self, x, w, b, dy):
        return {"forward": lambda: x @ w + b, "input_grad": lambda: dy @ w.T, "weight_grad": lambda: ((x.T @ dy).T, dy.sum(0))}


PASS_PEERS = {"ours-pass": OursPasses, "nchw-pass": TorchPasses, "channels_last-pass": TorchPassesChannelsLast, "numpy-pass": NumPyPasses}
