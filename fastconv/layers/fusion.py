"""Which neighbors run as one pass: a table, one row for each kind of pair. What they compute has the same bits, together and apart.

Conv, ReLU, MaxPool   ->   Conv; MaxPool(relu=True)              a row further up has the first choice: the ReLU is the pooling's here,
Conv, ReLU            ->   Conv(relu=True)                       and the convolution's there
Residual, ReLU        ->   Residual(relu=True)
..., BatchNorm, Sum   ->   ..., BatchNorm(shortcut=...)          of a Residual's body; with relu=True where a ReLU follows the Residual
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fastconv.layers.branches import Residual
from fastconv.layers.convolution import Conv1d, Conv2d, Conv3d
from fastconv.layers.layer import Layer
from fastconv.layers.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fastconv.layers.pooling import MaxPool1d, MaxPool2d, MaxPool3d
from fastconv.layers.shortcut import Sum
from fastconv.layers.simple import Linear, ReLU

NORMS = BatchNorm1d, BatchNorm2d, BatchNorm3d
CLAMPING = Conv1d, Conv2d, Conv3d, Linear, *NORMS, Residual
POOLS = MaxPool1d, MaxPool2d, MaxPool3d


class Fusion(NamedTuple):
    """A layer of one of the types `before` and its neighbor, one of `after`, run as a single `forward`, of one of the two, with more words."""

    before: tuple[type, ...]
    after: tuple[type, ...]
    runs: int  # 0: the one before, 1: the one after
    words: dict[str, bool]
    fits: Callable[[Layer, Layer], bool] = lambda before, after: True


FUSIONS = (
    Fusion((ReLU,), POOLS, 1, {"relu": True}, lambda relu, pool: pool.takes_relu),
    Fusion(CLAMPING, (ReLU,), 0, {"relu": True}),
    Fusion(NORMS, (Sum,), 0, {}),  # the Residual gives it the shortcut
)
PAIRS = {(a, b): (rank, fusion) for rank, fusion in reversed([*enumerate(FUSIONS)]) for a in fusion.before for b in fusion.after}


def steps_of(layers: Sequence[Layer | Sum]) -> Iterator[tuple[Layer | Sum, dict[str, bool]]]:
    """What runs in turn: a layer, and the words that its `forward` takes besides. Types are these very ones: a subclass may do anything."""
    i = 0
    while i < len(layers):
        found = _pair(layers, i)
        if found:
            later = _pair(layers, i + 1)
            if not later or found[0] < later[0]:
                yield layers[i + found[1].runs], found[1].words
                i += 2
                continue
        yield layers[i], {}
        i += 1


def _pair(layers: Sequence[Layer | Sum], i: int) -> tuple[int, Fusion] | None:
    """The row of layers i and i + 1, and its number."""
    if i + 1 >= len(layers):
        return None
    found = PAIRS.get((type(layers[i]), type(layers[i + 1])))
    return found if found and found[1].fits(layers[i], layers[i + 1]) else None
