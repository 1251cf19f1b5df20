"""The tables of the indirect GEMM, without its kernels: what they say is the index equation, no more and no less."""

from math import prod
from unittest.mock import patch

import numpy as np
import pytest
from geometries import CONVOLUTIONS, NUMPYS, Convolution
from hypothesis import given
from hypothesis import strategies as st
from strategies import convolutions, lawful

from fastconv.geometry.lines import backward_lines, forward_lines
from fastconv.kernels.igemm import plan as plan_module
from fastconv.kernels.igemm import weight_plan as weight_plan_module
from fastconv.kernels.igemm.items import inputs_of, item_of, outputs_of
from fastconv.kernels.igemm.plan import Limits, Plan, backward_phases, forward_phases, plans
from fastconv.kernels.igemm.weight_plan import GATHERED, LANES_ARE_K, WAYS, weight_plan
from fastconv.kernels.simd.host import PATCHES, TERMS
from fastconv.ops.linear import linear_geometry

GEOMETRIES = CONVOLUTIONS + (  # and larger ones than an item or a patch
    Convolution("rows and columns of an image", (2, 40, 23, 31), (3, 40, 3, 3), {"padding": 1, "stride": (1, 2)}),
    Convolution("parts of a row", (1, 300, 3, 70), (2, 300, 3, 3), {"padding": (1, 0)}),
    Convolution("no padding", (1, 2, 30, 45), (2, 1, 3, 1), {"groups": 2, "stride": (2, 1)}),
    Convolution("one output over a patch", (1, 520, 9, 9), (1, 520, 3, 3), {"dilation": 4}),
    Convolution("pixels over a running sum", (1, 2, 20, 20), (3, 2, 3, 3), {"padding": 1}),
    Convolution("strips of channels", (2, 40, 4, 5), (70, 40, 3, 3), {"padding": 1}),
)
LIMITS = (Limits(channels=16), Limits(pixels=12, patch=600, channels=4), Limits(pixels=1, patch=1, pack=True))


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
    """(K,): where a sum reads, seen from its pixel."""
    return np.concatenate([np.arange(0), *(np.arange(start, start + count) for start, count in plan.segments)])


def packed(plan: Plan, item) -> np.ndarray:
    """The patch of an item, of the numbers of the inputs: -1 in the padding, -2 behind the last image, where nobody writes."""
    extents = plan.N, plan.ID, plan.IH, plan.IW, plan.IC
    inputs, patch = np.arange(prod(extents)).reshape(extents), np.full((*plan[plan._fields.index("patch_n") :][:4], plan.ICG), -2)
    corner = (item.n, item.jd * plan.SD + plan.low_d, item.jh * plan.SH + plan.low_h, item.jw * plan.SW + plan.low_w, item.group * plan.ICG)
    images, *cells, channels = (low + np.arange(length) for low, length in zip(corner, patch.shape))
    cells = [
        row[plan.margin + np.clip(cell, -plan.margin, extent - 1 + plan.margin)] for row, cell, extent in zip(plan.index_map, cells, extents[1:4])
    ]
    patch[: plan.N - item.n] = -1
    places = np.where(images < plan.N, images, -1), *cells, channels
    real = [np.flatnonzero(place >= 0) for place in places]
    patch[np.ix_(*real)] = inputs[np.ix_(*(place[some] for place, some in zip(places, real)))]
    return patch.ravel()


def items(plan: Plan):
    """Item by item: itself, the numbers of its outputs (pixels,), in the first channel of its group, and of the inputs that they read
    (pixels, K; -1: padding)."""
    inputs = np.arange(plan.N * plan.ID * plan.IH * plan.IW * plan.IC)
    outputs = np.arange(plan.N * plan.OD * plan.OH * plan.OW * plan.OC)
    for i in range(plan.items):
        item = item_of.py_func(i, plan)
        reads = packed(plan, item) if plan.packed else inputs_of.py_func(item, plan, inputs, None)
        starts, to = (offsets[item.narrow][: item.pixels] for offsets in (plan.input_offsets, plan.output_offsets))
        yield item, outputs_of.py_func(item, plan, outputs)[to], reads[starts[:, None] + terms(plan)]


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


def check_plan(g, plan: Plan, backward: bool, limits: Limits, owners: np.ndarray) -> None:
    """Every term of every output of a phase; blocks and patches no longer than they may be. owners: counts who writes an output."""
    bytes_of_patch = plan.patch_size * limits.itemsize
    assert bytes_of_patch <= (limits.patch if plan.patch_n == 1 else max(limits.patch, PATCHES)) or (plan.rows, plan.columns) == (1, 1)
    K = len(plan.taps) * plan.ICG
    firsts = np.append(0, plan.segments[:, 1].cumsum())
    assert plan.blocks[:, 1].tolist() == [0, *range(TERMS, K, TERMS), K]
    assert firsts[plan.blocks[:, 0]].tolist() == plan.blocks[:, 1].tolist()
    for item, outputs, reads in items(plan):
        n, *position, channels = np.unravel_index(outputs, owners.shape)
        assert set(channels) == {item.group * plan.OCG}
        np.add.at(owners.reshape(-1), outputs[:, None] + item.channel + np.arange(item.channels), 1)
        expected = index_equation(g, backward, n, position, item.group)
        np.testing.assert_array_equal(reads, expected[:, plan.taps].reshape(len(n), -1))
        assert (np.delete(expected, plan.taps, axis=1) == -1).all()


def check_tables(g, limits: Limits) -> None:
    check_lines(g)
    flops = plan_module.ITEM_FLOPS if limits == LIMITS[0] else 1  # small items are worth having, too
    with patch.object(plan_module, "ITEM_FLOPS", flops):
        for case, phases, backward in ((g, forward_phases(g), False), (g.padded, backward_phases(g.padded), True)):
            owners = np.zeros((g.N, *case[2:5], g.IC) if backward else (g.N, *g[6:9], g.OC), int)
            for plan in plans(case, phases, limits):
                check_plan(case, plan, backward, limits, owners)
            assert (owners == 1).all()


@pytest.mark.parametrize(
    ("case", "limits"),
    [
        pytest.param(case, limits, id=f"{case.name}-{name}")
        for case in GEOMETRIES
        for name, limits in zip(("usual", "small", "single pixels"), LIMITS)
        if limits.pixels > 1 or prod(case.g.output_shape) // case.g.OC * case.g.G < 1000  # items, each some Python
    ],
)
def test_tables_are_the_index_equation(case, limits):
    """Every term of every output, every output by one item: also where items are small, and cut into strips of channels."""
    check_tables(case.g, limits)


@lawful
@given(convolutions(), st.sampled_from(LIMITS))
def test_random_tables_are_the_index_equation(case, limits):
    check_tables(case.g, limits)


def check_weight_plan(g, dtype: np.dtype, way: int, **limits) -> None:
    """The sum of term k and channel n is where a tile has them both; tiles read over the item's inputs only behind the end of a patch."""
    with patch.multiple(weight_plan_module, WAYS=(way,), Record=lambda plan: plan, **limits):
        plan, tile = weight_plan(g, dtype, False)
    pixels, MR, NR, M = plan.pixels, tile.MR, tile.NR, plan.pixels.input_offsets.shape[1]
    assert (plan.way, pixels.strips, plan.bands * g.G) == (GATHERED if plan.direct else way, 1, pixels.items)
    k, n = np.arange(pixels.K)[:, None], np.arange(pixels.OCG)
    if plan.direct:  # tiles are rows of dw, all of its pixels are one running sum
        assert (plan.bands, plan.size, M <= TERMS) == (1, 0, True)
        t, m, r = k // MR + n // NR * plan.a_tiles, k % MR, n % NR
    else:
        numbers = plan.k_index[:, None] + plan.n_index
        assert numbers.shape == (pixels.K, pixels.OCG)
        assert len(np.unique(numbers)) == numbers.size
        assert numbers.max() < plan.size == plan.a_tiles * plan.b_tiles * MR * NR
        t, m, r = np.unravel_index(numbers, (plan.a_tiles * plan.b_tiles, MR, NR))
    a_offsets = plan.a_offsets.reshape(plan.a_tiles, MR)
    if plan.way != GATHERED:
        a_offsets = a_offsets[:, :1] + np.arange(MR)  # a kernel reads the first one only
    b_offsets = plan.b_starts[:, None] + np.arange(NR)
    a, b = a_offsets[t % plan.a_tiles, m], b_offsets[t // plan.a_tiles, r]
    of_inputs, of_dy = (b, a) if plan.way == LANES_ARE_K else (a, b)
    panel = M * plan.width
    assert (of_inputs == terms(pixels)[:, None]).all()
    assert (of_dy // panel * plan.width + of_dy % panel == n).all()
    reads, of_rows = (b_offsets, a_offsets) if plan.way == LANES_ARE_K else (a_offsets, b_offsets)
    if pixels.packed:
        assert pixels.input_offsets.max() + reads.max() < pixels.patch_size + MR + NR <= plan.patch
    else:
        assert set(reads.ravel()) <= set(terms(pixels))
    assert plan.dy_rows.max() + of_rows.max() < plan.scratch - plan.patch or not plan.copied


BANDS = {"TERMS": 0, "WEIGHT_PIXELS": 3}  # several, also of small images: then totals are kept


@pytest.mark.parametrize("way", WAYS, ids=["contiguous", "gathered", "lanes are k"])
@pytest.mark.parametrize("case", GEOMETRIES, ids=lambda case: case.name)
def test_each_sum_of_a_weight_gradient_is_in_one_tile(case, way):
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        check_weight_plan(case.g, dtype, way)
        check_weight_plan(case.g, dtype, way, **BANDS)


@lawful
@given(convolutions(), st.sampled_from(WAYS), st.sampled_from(({}, BANDS)))
def test_random_weight_plans(case, way, limits):
    check_weight_plan(case.g, np.dtype(np.float64), way, **limits)


def test_tables_are_of_an_item_not_of_an_image():
    for S in (1, 2, 3):
        g = Convolution("", (1, 3, 2048, 2048), (64, 3, 7, 7), {"padding": 3, "stride": S}).g
        for phases in (forward_phases(g), backward_phases(g)):
            assert sum(table.nbytes for plan in plans(g, phases, Limits()) for table in plan if isinstance(table, np.ndarray)) < 1e6


@pytest.mark.parametrize(("N", "I", "O", "items"), [(32, 2592, 256, 4), (64, 9216, 128, 4), (6, 2592, 256, 4), (1024, 256, 64, 16)])
def test_few_pixels_make_few_items(N, I, O, items):
    """Each packs its weights anew: of few pixels there are four at least, of 64 pixels and more as many as threads may share."""
    g = linear_geometry(N, I, O)
    (plan,) = plans(g, forward_phases(g), Limits(channels=64))
    assert plan.items == items


def test_features_do_not_cut_the_images_of_a_linear():
    """A block of the sum reads 256 of each, however many there are: one band packs its weights once."""
    for features in (1000, 2304, 20000):
        g = linear_geometry(64, features, 128)
        (plan,) = plans(g, forward_phases(g), Limits(channels=16))
        assert (plan.patch_n, plan.strips, plan.items) == (64, 8, 8)


@pytest.mark.parametrize(("N", "I", "O"), [(64, 9216, 128), (256, 2304, 512)])
def test_a_weight_gradient_of_few_pixels_needs_no_totals(N, I, O):
    """However large the inputs are, that it reads where they lie."""
    plan, _ = weight_plan(linear_geometry(N, I, O), np.dtype(np.float32), False)
    assert plan.direct
    assert plan.size == 0
