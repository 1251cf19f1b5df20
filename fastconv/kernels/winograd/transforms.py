"""The transforms of Winograd's passes: irregular windows of images to and from 36 regular matrices. Padding and ragged tiles end here.

A tile of 4x4 outputs and its window of 6x6 inputs, 16 channels of each in a register:

    x: window, 36 registers     V = B^T x B: 36 points         M[k] = V[k] @ U[k]          y = A^T M A: 16 registers
    . . . . . .                 k = 0 1 2 3 4 5                                            y y y y
    . x x x x x        ->           6 7 ...             ->                        ->       y y y y
      ...                               ... 35                                             ...
"""

from fastconv.kernels.compile import outlined, serial
from fastconv.kernels.simd.arithmetic import add_row, clamp, transpose
from fastconv.kernels.simd.memory import add_to_wide, load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.tile import one_row
from fastconv.kernels.simd.transforms import both_sides, gather_grid, load_grid, prefetch_grid, result_tile, store_grid, store_part, total_of_grid


@outlined
def transform_inputs(BT, plan, x, origin, first, stop, V):
    """V[k, t - origin, c] = (B^T d B)[k] for the windows d of tiles first..stop; 0 after the last channel

    The lines of the next tile are prefetched: else stores wait for each of them (a forward pass of 16 channels 1.45 ms instead of 1.05).
    """
    down, across = 6 * plan.V_point, plan.V_point
    for t in range(first, stop):
        n, th, tw = t // (plan.TH * plan.TW), t // plan.TW % plan.TH, t % plan.TW
        image, to = n * plan.IH * plan.IW * plan.IC, (t - origin) * plan.V_tile
        whole = plan.whole_rows[th] + plan.whole_columns[tw] == 2
        at = image + plan.row_offsets[4 * th] + plan.column_offsets[4 * tw]
        for c in range(0, plan.IC, BT.LANES):
            prefetch_grid(BT, BT, V, to + plan.V_tile + c, down, across)
            if whole and c + BT.LANES <= plan.IC:
                d = load_grid(BT, x, at + c, plan.IW * plan.IC, plan.IC)
                store_grid(BT, BT, both_sides(BT, d, BT), V, to + c, down, across)
            else:
                d = gather_grid(BT, x, image + c, plan.row_offsets, 4 * th, plan.column_offsets, 4 * tw, plan.IC - c)
                store_grid(BT, BT, both_sides(BT, d, BT), V, to + c, down, across)


@outlined
def transform_outputs(AT, plan, M, origin, first, stop, bias, y):
    """y of tiles first..stop = A^T M A + bias, not below the lower bound"""
    tile = result_tile(AT, AT)
    for t in range(first, stop):
        n, h, w = t // (plan.TH * plan.TW), t // plan.TW % plan.TH * 4, t % plan.TW * 4
        to, at = ((n * plan.OH + h) * plan.OW + w) * plan.OC, (t - origin) * plan.M_tile
        shape = min(4, plan.OH - h), min(4, plan.OW - w)
        for c in range(0, plan.OC, AT.LANES):
            grid = both_sides(AT, load_grid(AT, M, at + c, 6 * plan.M_point, plan.M_point), AT)
            grid = clamp(tile, add_row(tile, grid, bias, c, plan.OC - c), plan.lower_bound)
            if shape[0] + shape[1] == 8 and c + AT.LANES <= plan.OC:
                store_grid(AT, AT, grid, y, to + c, plan.OW * plan.OC, plan.OC)
            else:
                store_part(AT, grid, y, to + c, (plan.OW * plan.OC, plan.OC), shape, plan.OC - c)


@outlined
def transform_weights(G, square, NR, plan, w, item, taps, U):
    """U[k, p, ic, n] = (G w G^T)[k] for one panel and LANES input channels; w: (3, 3, IC, OC), or (3, 3, OC, IC) and turned round if flip.

    taps: (9, LANES, LANES), scratch of the item.
    """
    p, ic, LANES = item % plan.panels, item // plan.panels * G.LANES, G.LANES
    channels, area = min(LANES, plan.IC - ic), LANES * LANES
    turn = -area if plan.flip else area
    for r in range(0, NR, LANES):
        n = p * NR + r
        if n < plan.OC:
            load_taps(square, plan, w, ic, n, taps)
        for i in range(channels):
            grid = load_grid(G, taps, (8 * area if plan.flip else 0) + i * LANES, 3 * turn, turn)
            store_grid(G, G, both_sides(G, grid, G), U, (p * plan.IC + ic + i) * NR + r, 6 * plan.U_point, plan.U_point)


@serial
def load_taps(square, plan, w, ic, n, taps):
    """taps[k, i, j] = w[k, ic + i, n + j], or w[k, n + j, ic + i] if flip"""
    LANES = square.LANES
    for k in range(9):
        at, rows = k * plan.IC * plan.OC, offsets_apart(square, LANES, LANES)
        if plan.flip:
            block = load_rows(square, w, offsets_apart(square, plan.IC, plan.OC - n), at + n * plan.IC + ic, plan.IC - ic)
            store_rows(square, transpose(square, block), taps, rows, k * LANES * LANES, LANES)
        else:
            block = load_rows(square, w, offsets_apart(square, plan.OC, plan.IC - ic), at + ic * plan.OC + n, plan.OC - n)
            store_rows(square, block, taps, rows, k * LANES * LANES, LANES)


@outlined
def transform_gradients(A, plan, dy, origin, tiles, channels, M, sums):
    """M[k, t - origin, n] = (A dy A^T)[k] for tiles[0] <= t < tiles[1] and channels; with a bias, sums[n] += the sum over dy[n]"""
    for t in range(tiles[0], tiles[1]):
        n, th, tw = t // (plan.TH * plan.TW), t // plan.TW % plan.TH, t % plan.TW
        image, to = n * plan.OH * plan.OW * plan.OC, (t - origin) * plan.M_tile
        at = image + (4 * th * plan.OW + 4 * tw) * plan.OC
        whole = 4 * th + 4 <= plan.OH and 4 * tw + 4 <= plan.OW
        for c in range(channels[0], channels[1], A.LANES):
            if whole and c + A.LANES <= plan.OC:
                grid = load_grid(A, dy, at + c, plan.OW * plan.OC, plan.OC)
            else:
                grid = gather_grid(A, dy, image + c, plan.gradient_rows, 4 * th, plan.gradient_columns, 4 * tw, plan.OC - c)
            if len(sums) > 0:
                add_to_wide(one_row(result_tile(A, A)), total_of_grid(A, grid), sums, c, 0)
            prefetch_grid(A, A, M, to + plan.M_tile + c, 6 * plan.M_point, plan.M_point)
            store_grid(A, A, both_sides(A, grid, A), M, to + c, 6 * plan.M_point, plan.M_point)


@outlined
def transform_back(GT, NR, plan, dU, U_point, panels, partial):
    """partial[kh, kw, ic, p * NR + n] = (G^T dU[:, p, ic, n] G)[kh, kw] for panels[0] <= p < panels[1]; dU begins with the first of them"""
    IC, OC = plan.tiles.IC, plan.tiles.OC
    for p in range(panels[0], panels[1]):
        for ic in range(IC):
            for n in range(p * NR, min(OC, (p + 1) * NR), GT.LANES):
                at = ((p - panels[0]) * plan.rows + ic) * NR + n - p * NR
                grid = both_sides(GT, load_grid(GT, dU, at, 6 * U_point, U_point), GT)
                store_part(GT, grid, partial, ic * OC + n, (3 * IC * OC, IC * OC), (3, 3), OC - n)
