"""The layers of `bench/shapes/*.txt`: the one place that reads them, draws their operands and knows their exact results.

A line is `n ic ih oc k s p`, then any of the words `groups=4 dilation=2 rank=1 dtype=float64 transposed=1`; # starts a comment. ih is the
extent of every spatial axis, k, s, p and the dilation hold for all of them; rank 2 and float32 go without saying.
"""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, conv_geometry, transposed_geometry

PASSES = ("forward", "input_grad", "weight_grad")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of ||result - exact|| / ||exact||
FORM = "n ic ih oc k s p [groups=...] [dilation=...] [rank=1|2|3] [dtype=float32|float64] [transposed=0|1]"


class Layer(NamedTuple):
    line: str
    g: Geometry  # transposed: of the convolution that leads back, from y to x
    dtype: np.dtype
    transposed: bool

    @property
    def words(self) -> dict[str, int]:
        """As every convolution takes them."""
        return {"stride": self.g.SW, "padding": self.g.PW, "dilation": self.g.DW, "groups": self.g.G}

    def operands(self) -> tuple[np.ndarray, ...]:
        """x, w, b, dy: normal numbers, the same in every process."""
        draw = np.random.default_rng(0).standard_normal
        x, y = (self.g.output_shape, self.g.input_shape) if self.transposed else (self.g.input_shape, self.g.output_shape)
        return tuple(draw(shape, self.dtype) for shape in (x, self.g.weight_shape, (y[1],), y))

    def operation(self, name: str) -> str:
        """The row of the kernels' table that a pass runs."""
        return "conv_" + (name if not self.transposed else {"forward": "input_grad", "input_grad": "forward"}.get(name, name))

    def with_images(self, n: int) -> "Layer":
        return parse(" ".join([str(n), *self.line.split()[1:]]))


def parse(line: str, where: str = "layer") -> Layer:
    given = line.split()
    numbers = [word for word in given if "=" not in word]
    words = dict(word.split("=", 1) for word in given[len(numbers) :] if "=" in word)
    try:
        n, ic, ih, oc, k, s, p = map(int, numbers)
        dtype = np.dtype(words.pop("dtype", "float32"))
        usual = ("rank", 2), ("dilation", 1), ("groups", 1), ("transposed", 0)
        rank, dilation, groups, transposed = (int(words.pop(name, value)) for name, value in usual)
        if words or dtype.name not in TOLERANCE or ic % groups or oc % groups or transposed not in (0, 1):
            raise ValueError
    except (ValueError, TypeError, ZeroDivisionError):
        raise ValueError(f"{where}: expected {FORM}, groups dividing ic and oc; got {line!r}") from None
    if transposed:
        g = transposed_geometry(where, n, ic, oc, (ih,) * rank, (k,) * rank, s, p, 0, None, dilation, groups)
    else:
        g = conv_geometry(where, n, ic, oc, (ih,) * rank, (k,) * rank, s, p, dilation, groups)
    return Layer(" ".join(given), g, dtype, bool(transposed))


def read(path: Path) -> list[Layer]:
    """The layers of a file, each line once."""
    found = {}
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line := " ".join(text.partition("#")[0].split()):
            found[line] = parse(line, f"{path.name}:{number}")
    return list(found.values())


def exact(layer: Layer) -> dict[str, tuple[np.ndarray, ...]]:
    """y, dx and (dw, db) in float64: a sum over the taps of matrix products, as plain as NumPy has it."""
    g = layer.g
    x, w, b, dy = (operand.astype(np.float64) for operand in layer.operands())
    db = dy.sum((0, *range(2, dy.ndim)))
    x, dy = (dy, x) if layer.transposed else (x, dy)
    pads = ((g.PD, g.QD), (g.PH, g.QH), (g.PW, g.QW))
    x = np.pad(x.reshape(g.N, g.G, g.IC // g.G, g.ID, g.IH, g.IW), ((0, 0),) * 3 + pads)
    w = w.reshape(g.G, g.OC // g.G, g.IC // g.G, g.KD, g.KH, g.KW)
    dy = dy.reshape(g.N, g.G, g.OC // g.G, -1)
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for kd, kh, kw in product(range(g.KD), range(g.KH), range(g.KW)):
        axes = ((kd, g.DD, g.SD, g.OD), (kh, g.DH, g.SH, g.OH), (kw, g.DW, g.SW, g.OW))
        seen = (..., *(slice(k * D, k * D + S * (O - 1) + 1, S) for k, D, S, O in axes))  # the inputs that this tap meets
        inputs, weights = x[seen].reshape(g.N, g.G, g.IC // g.G, -1), w[..., kd, kh, kw]
        y += weights @ inputs
        dx[seen] += (weights.swapaxes(1, 2) @ dy).reshape(x[seen].shape)
        dw[..., kd, kh, kw] = (dy @ inputs.swapaxes(2, 3)).sum(0)
    dx = dx[..., g.PD : g.PD + g.ID, g.PH : g.PH + g.IH, g.PW : g.PW + g.IW]
    y, dx = y.reshape(g.output_shape), dx.reshape(g.input_shape)
    y, dx = (dx, y) if layer.transposed else (y, dx)
    y += b.reshape(-1, *(1,) * g.rank)
    return {"forward": (y,), "input_grad": (dx,), "weight_grad": (dw.reshape(g.weight_shape), db)}


def error(found: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> float:
    """||found - right|| / ||right||, of the worst array."""
    if [a.shape for a in found] != [a.shape for a in right]:
        return float("inf")
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(found, right))
