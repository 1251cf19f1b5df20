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
from fastconv.layers.joins import Join, NormSum, Sum
from fastconv.layers.layer import Layer
from fastconv.layers.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fastconv.layers.pooling import MaxPool1d, MaxPool2d, MaxPool3d
from fastconv.layers.simple import Linear, ReLU

NORMS = BatchNorm1d, BatchNorm2d, BatchNorm3d
CLAMPING = Conv1d, Conv2d, Conv3d, Linear, *NORMS, Residual, Sum, NormSum
POOLS = MaxPool1d, MaxPool2d, MaxPool3d

Runs = Layer | Join


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
    Fusion(NORMS, (Sum,), 0, {}),  # it is given the shortcut
)
PAIRS = {(a, b): (rank, fusion) for rank, fusion in reversed([*enumerate(FUSIONS)]) for a in fusion.before for b in fusion.after}


def fusion_of(before: Runs, after: Runs | None, later: Runs | None) -> Fusion | None:
    """The row by which two neighbors run as one, unless a row further up joins the second with what comes later.

    Types are these very ones: a subclass may do anything.
    """
    found = _row(before, after)
    if not found:
        return None
    rival = _row(after, later)
    return None if rival and rival[0] <= found[0] else found[1]


def steps_of(layers: Sequence[Runs]) -> Iterator[tuple[Runs, dict[str, bool]]]:
    """What runs in turn: a layer, and the words that its `forward` takes besides."""
    i = 0
    while i < len(layers):
        fusion = fusion_of(*layers[i : i + 3], *[None] * (i + 3 - len(layers)))
        if fusion:
            yield layers[i + fusion.runs], fusion.words
            i += 2
        else:
            yield layers[i], {}
            i += 1


def _row(before: Runs | None, after: Runs | None) -> tuple[int, Fusion] | None:
    """Of a pair, and its number."""
    found = PAIRS.get((type(before), type(after)))
    return found if found and found[1].fits(before, after) else None
