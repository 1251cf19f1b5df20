"""Error constants: c in |result - exact| <= c * u * S, S the same sums over absolute values, u = 2**-24 for float32, 2**-53 for float64.

Each counts the roundings that one element passes through, worst case, in the order of its kernel's sums.
"""

import numpy as np

from fastconv.geometry import Geometry, Shares, repeats, share_collects
from fastconv.kernels.igemm.weight_plan import weight_plan
from fastconv.kernels.plain import convolution as plain
from fastconv.kernels.simd.host import CHUNKS, TERMS
from fastconv.kernels.winograd.matrices import amplification
from fastconv.kernels.winograd.plan import along, dilations


def positions(g: Geometry) -> int:
    return g.N * g.OD * g.OH * g.OW


def forward_terms(g: Geometry) -> int:
    return g.taps * g.IC // g.G


def backward_terms(g: Geometry) -> int:
    return g.taps * g.OC // g.G


def blocked(terms: int) -> int:
    """The longest running sum, then the sums of its blocks, then the bias."""
    return min(TERMS, terms) + -(-terms // TERMS) + 1


def any_padding(error):
    """Of an input gradient for every padding mode: the gradients of an input's copies are added up."""
    return lambda g, dtype: error(g.padded, dtype) + repeats(g) - 1


def textbook_forward(g, dtype):
    return forward_terms(g) + 1


def textbook_input_grad(g, dtype):
    return repeats(g) * backward_terms(g) + 1


def textbook_weight_grad(g, dtype):
    return positions(g) + 1


def forward(g, dtype):
    return blocked(forward_terms(g))


def input_grad(g, dtype):
    return blocked(backward_terms(g))


def narrow_forward(g, dtype):
    """The longest running sum, of whole kernel rows, the bias, then the sums of such blocks."""
    rows, row = g.KD * g.KH, g.KW * g.IC // g.G
    return min(TERMS, forward_terms(g)) + 1 + -(-rows // max(1, TERMS // row))


def col2im(g, dtype):
    """The longest running sum, of some kernel rows, the sums of such blocks, then one addition for each tap of a row."""
    T = g.KH * g.OC // g.G
    return min(TERMS, T) + g.KD * -(-g.KH // max(1, TERMS // (g.OC // g.G))) + g.KW


def weight_grad(g, dtype):
    """The longest running sum; after it, float64 sums cost float32 one rounding, and float64 one for each block and chunk."""
    if dtype == np.float32:
        return min(TERMS, positions(g)) + 2
    plan, _ = weight_plan(g, np.dtype(dtype), False)
    blocks = plan.bands * -(-len(plan.dy_rows) // TERMS)
    return min(TERMS, positions(g)) + blocks + CHUNKS


def narrow_weight_grad(g, dtype):
    """The longest running sum; after it, float64 totals cost float32 one rounding, and float64 one for each."""
    return min(TERMS, positions(g)) + (2 if dtype == np.float32 else positions(g) + CHUNKS)


def winograd_forward(g, dtype):
    return _winograd(g, g.IC // g.G)


def winograd_input_grad(g, dtype):
    return _winograd(g, g.OC // g.G)


def winograd_weight_grad(g, dtype):
    """The longest running sum is a block of tiles, then come those of the chunk; chunks are added in float64."""
    DH, DW = dilations(g)
    return _winograd(g, g.N * g.ID * along(g.OH, g.KH, DH) * along(g.OW, g.KW, DW) + 2)


def _winograd(g: Geometry, terms: int) -> float:
    """Three transforms of at most two axes, five roundings each, beside the sum of products, and how transforms enlarge what is rounded.

    The sums over absolute values are those of whole windows: data of very different size within one may break the bound elementwise.
    """
    return amplification(g.KH, g.KW) * (terms + 30)


def plain_forward(g, dtype):
    return _plain(g.IC // g.G, g.taps)


def plain_input_grad(g, dtype):
    return _plain(g.OC // g.G, g.taps)


def _plain(C: int, taps: int) -> int:
    return min(TERMS, C * taps) + plain.blocks.py_func(C, taps) + 1


def plain_weight_grad(g, dtype):
    chunks = plain.weight_grad_chunks(g)
    return min(TERMS, positions(g)) + (2 if dtype == np.float32 else -(-positions(g) // chunks // TERMS) + 2 + chunks)


def plain_bias_grad(g, dtype):
    return 2 if dtype == np.float32 else positions(g) // plain.bias_grad_chunks(positions(g)) + 1 + CHUNKS


def mean(g, dtype):
    """Sums run in float64: one rounding at the end for float32, one per tap for float64."""
    return 2 if dtype == np.float32 else g.taps + 2


def readers(shares: Shares) -> int:
    """How many adaptive windows hold an input, at most."""
    return int(share_collects(shares).steps[:, 0].prod())


def adaptive_mean(shares: Shares, dtype):
    """One rounding at the end for float32; for float64 one per term, of gradients one per window that holds the input."""
    return 2 if dtype == np.float32 else max(int(np.prod(shares.kernel)), readers(shares)) + 2
