"""The tables of the tiled passes, without their kernels: what they say is the index equation, no more and no less."""

from math import prod
from unittest.mock import patch

import numpy as np
import pytest
from fastconv.kernels.host import BOX, PIXELS, TERMS
from fastconv.kernels.tiled_plan import Extents, Plan
from fastconv.kernels.tiled_term_plan import CHOICES, SWAPPED, Cut
from geometries import CONVOLUTIONS, NUMPYS, Convolution
from hypothesis import given
from hypothesis import strategies as st
from strategies import convolutions, lawful

from fastconv.geometry.lines import backward_lines, forward_lines
from fastconv.kernels import depthwise_plan, tiled_plan, tiled_term_plan

GEOMETRIES = CONVOLUTIONS + (  # and larger ones than an item or a box
    Convolution("rows and columns of an image", (2, 40, 23, 31), (3, 40, 3, 3), {"padding": 1, "stride": (1, 2)}),
    Convolution("parts of a row", (1, 300, 3, 70), (2, 300, 3, 3), {"padding": (1, 0)}),
    Convolution("no padding", (1, 2, 30, 45), (2, 1, 3, 1), {"groups": 2, "stride": (2, 1)}),
    Convolution("one output over a box", (1, 520, 9, 9), (1, 520, 3, 3), {"dilation": 4}),
)
CUTS = ((BOX, PIXELS), (600, 12), (1, 1))  # bytes of a box, pixels of an item


def cut(box: int, pixels: int):
    return patch.multiple(tiled_plan, BOX=box, PIXELS=pixels, forward_plans=tiled_plan.forward_plans.__wrapped__)


def axes(g) -> list[tuple[int, ...]]:
    """I, O, K, S, P, D of depth, height and width."""
    return [tuple(getattr(g, letter + name) for letter in "IOKSPD") for name in "DHW"]


def check_lines(g) -> None:
    """Each target once, and exactly the (target, tap, source) of the index equation."""
    for I, O, K, S, P, D in axes(g):
        reads = [(oh, kh, oh * S - P + kh * D) for oh in range(O) for kh in range(K) if 0 <= oh * S - P + kh * D < I]
        for lines, targets, sources, triples in ((forward_lines, O, I, reads), (backward_lines, I, O, [(ih, kh, oh) for oh, kh, ih in reads])):
            phases = lines(I, O, K, S, P, D)
            assert sorted(phase.first + j * phase.step for phase in phases for j in range(phase.count)) == list(range(targets))
            visits = []
            for phase in phases:
                cells = [(j, tap, j * phase.stride + shift) for j in range(phase.count) for shift, tap in zip(phase.shifts, phase.taps)]
                assert phase.stays_inside(sources) == (bool(cells) and all(0 <= source < sources for _, _, source in cells))
                visits += [(phase.first + j * phase.step, tap, source) for j, tap, source in cells if 0 <= source < sources]
            assert sorted(visits) == sorted(triples)


def terms(plan: Plan) -> np.ndarray:
    """(terms,): where a sum reads, seen from its pixel."""
    return np.concatenate([np.arange(0), *(np.arange(first, first + count) for first, count, _ in plan.runs)])


def items(plan: Plan):
    """Item by item: its group, where in the target its pixels are (pixels,), which numbers of the source they read (pixels, terms; -1: padding)."""
    e = Extents(*plan.record[0].item())
    extents = e.N, e.ID, e.IH, e.IW, e.IC
    source = np.arange(prod(extents)).reshape(extents)
    counts = -(-e.N // e.BN), e.G, e.JD, e.down, e.across
    assert plan.items == prod(counts)
    for n, group, jd, jh, jw in np.ndindex(counts):
        n, jh, jw = n * e.BN, jh * e.rows, jw * e.columns
        columns = min(e.columns, e.JW - jw)
        i = int(columns < e.columns), slice(min(e.BN, e.N - n) * min(e.rows, e.JH - jh) * columns)
        corner = n, jd * e.SD + e.low_d, jh * e.SH + e.low_h, jw * e.SW + e.low_w, group * e.C
        if e.packed:
            box = np.full((e.BN, e.BD, e.BH, e.BW, e.C), -2)  # behind the last image nobody writes
            assert box.size == plan.box
            box[: e.N - n] = -1
            images, *cells, channels = (low + np.arange(length) for low, length in zip(corner, box.shape))
            cells = [
                table[e.margin + np.clip(cell, -e.margin, extent - 1 + e.margin)] for table, cell, extent in zip(plan.cells, cells, extents[1:4])
            ]
            cells = np.where(images < e.N, images, -1), *cells, channels
            real = [np.flatnonzero(cell >= 0) for cell in cells]
            box[np.ix_(*real)] = source[np.ix_(*(cell[some] for cell, some in zip(cells, real)))]
            reads = box.ravel()[plan.from_pixels[i][:, None] + terms(plan)]
        else:
            reads = source.ravel()[np.ravel_multi_index(corner, extents) + plan.from_pixels[i][:, None] + terms(plan)]
        corner = n, jd * e.step_d + e.first_d, jh * e.step_h + e.first_h, jw * e.step_w + e.first_w, group * e.T
        yield group, np.ravel_multi_index(corner, (e.N, e.OD, e.OH, e.OW, e.OC)) + plan.to_pixels[i], reads


def index_equation(g, backward: bool, n, position: list, group: int) -> np.ndarray:
    """(pixels, taps, channels of the group): which number of the source a tap brings, -1 for none."""
    IC, extents = (g.OC, g[6:9]) if backward else (g.IC, g[2:5])
    C, cells = IC // g.G, n[:, None]
    for places, extent, (I, _, K, S, P, D), Q in zip(position, extents, axes(g), g[18:21]):
        kh = np.arange(K)
        if backward:
            cell, rest = np.divmod(places[:, None] + P - kh * D, S)
            real = (rest == 0) & (cell >= 0) & (cell < extent)
        else:
            padded = np.pad(np.arange(1, I + 1), (P, Q), NUMPYS[g.padding_mode]) - 1
            cell = padded[places[:, None] * S + kh * D]
            real = cell >= 0
        cells = np.where(real[:, None] & (cells >= 0)[:, :, None], cells[:, :, None] * extent + cell[:, None], -1).reshape(len(n), -1)
    return np.where(cells < 0, -1, cells * IC + group * C + np.arange(C)[:, None, None]).transpose(1, 2, 0)


def check_terms(g, dtype: np.dtype, choice: int) -> Plan:
    """The sum of term k and channel t is where a tile has them both; tiles read over the item's inputs only behind the end of a box."""
    with patch.object(tiled_term_plan, "CHOICES", (choice,)):
        found = tiled_term_plan.term_plan.__wrapped__(g, dtype)
    plan, tile, cut = found.plan, found.tile, Cut(*found.record[0].item())
    T, pixels = g.OC // g.G, plan.from_pixels.shape[1]
    numbers = (found.of_term[:, None] + found.of_channel).ravel()
    assert len(np.unique(numbers)) == len(numbers)
    pair, m, r = np.unravel_index(numbers, (cut.A * cut.B, tile.MR, tile.NR))
    broadcast, lane = found.places_a[pair % cut.A * tile.MR + m], found.firsts_b[pair // cut.A] + r
    reads, channels = np.repeat(terms(plan), T), np.tile(np.arange(T), len(terms(plan)))
    if choice == SWAPPED:
        assert (broadcast == channels).all()
        assert (lane == reads).all()
        inputs = (found.firsts_b[:, None] + np.arange(tile.NR)).ravel()
        assert found.places_a.max() < cut.width + tile.MR
    else:
        assert (broadcast == reads).all()
        assert (lane // (pixels * tile.NR) * tile.NR + lane % (pixels * tile.NR) == channels).all()
        inputs = found.places_a
    assert plan.from_pixels.max() + inputs.max() < plan.box + tile.MR + tile.NR if plan.box else set(inputs) == set(terms(plan))
    return plan


def check_tables(g, dtype: np.dtype) -> None:
    check_lines(g)
    if depthwise_plan.fits(g):
        g = depthwise_plan.blocks(g, dtype)  # so it is asked for there: a block of groups at once
    itemsize = dtype.itemsize
    forward, input_grad = tiled_plan.forward_plans(g, itemsize), tiled_plan.backward_plans.__wrapped__(g.padded, itemsize)
    passes = (g, False, forward), (g.padded, True, input_grad), *((g, False, [check_terms(g, dtype, choice)]) for choice in CHOICES)
    for g, backward, plans in passes:
        target = (g.N, *g[2:5], g.IC) if backward else (g.N, *g[6:9], g.OC)
        owners = np.zeros(prod(target), int)
        for plan in plans:
            e = Extents(*plan.record[0].item())
            assert plan.box * itemsize <= tiled_plan.BOX or (e.BN, e.rows, e.columns) == (1, 1, 1)
            count = len(plan.taps) * e.C
            rows = np.append(0, plan.runs[:, 1].cumsum())
            assert rows[:-1].tolist() == plan.runs[:, 2].tolist()
            assert rows[plan.blocks].tolist() == [0, *range(TERMS, count, TERMS), count]
            for group, outputs, reads in items(plan):
                n, *position, channels = np.unravel_index(outputs, target)
                assert set(channels) == {group * e.T}
                np.add.at(owners, outputs[:, None] + np.arange(e.T), 1)
                expected = index_equation(g, backward, n, position, group)
                np.testing.assert_array_equal(reads, expected[:, plan.taps].reshape(len(n), -1))
                assert (np.delete(expected, plan.taps, axis=1) == -1).all()
        assert (owners == 1).all()


@pytest.mark.parametrize(("box", "pixels"), CUTS)
@pytest.mark.parametrize("case", GEOMETRIES, ids=lambda case: case.name)
def test_tables_are_the_index_equation(case, box, pixels):
    """Every term of every output, every output by one item, no block or box too long: also where items are small."""
    with cut(box, pixels):
        check_tables(case.g, np.dtype(np.float32))


@lawful
@given(convolutions(), st.sampled_from(CUTS))
def test_random_tables_are_the_index_equation(case, limits):
    with cut(*limits):
        check_tables(case.g, np.dtype(np.float64))


def test_tables_are_of_an_item_not_of_an_image():
    for S in (1, 2, 3):
        g = Convolution("", (1, 3, 2048, 2048), (64, 3, 7, 7), {"padding": 3, "stride": S}).g
        for plans in (tiled_plan.forward_plans(g, 4), tiled_plan.backward_plans(g, 4)):
            assert sum(table.nbytes for plan in plans for table in plan if isinstance(table, np.ndarray)) < 1e6
