"""The transforms of Winograd's passes: irregular windows of images to and from 36 regular matrices. Padding and ragged tiles end here.

A tile of 4x4 outputs and its window of 6x6 inputs, 16 channels of each in a register:

    x: window, 36 registers     V = B^T x B: 36 points         M[k] = V[k] @ U[k]          y = A^T M A: 16 registers
    . . . . . .                 k = 0 1 2 3 4 5                                            y y y y
    . x x x x x        ->           6 7 ...             ->                        ->       y y y y
      ...                               ... 35                                             ...

Each takes some tiles, counted from `origin` in V or M, and some channels of a group, counted from the first of them.
"""

from fastconv.kernels.compile import inlined, outlined, serial
from fastconv.kernels.simd.arithmetic import add_row, clamp, transpose
from fastconv.kernels.simd.memory import add_to_totals, load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.tile import one_row
from fastconv.kernels.simd.transforms import both_sides, gather_grid, load_grid, result_tile, store_grid, store_part, total_of_grid


@inlined
def place_of(plan, t):
    """Image, row of tiles, and tile in that row."""
    return t // (plan.TH * plan.TW), t // plan.TW % plan.TH, t % plan.TW


@inlined
def place_after(plan, place):
    """The next tile's; 16 channels of a tile are transformed in the time that four divisions take."""
    n, th, tw = place
    if tw + 1 < plan.TW:
        return n, th, tw + 1
    return (n, th + 1, 0) if th + 1 < plan.TH else (n + 1, 0, 0)


@outlined
def transform_inputs(BT, plan, x, group, origin, tiles, channels, V):
    """V[k, t, c] = (B^T d B)[k] for the windows d of these tiles, past the end the last one again; 0 after the last channel"""
    down, across = plan.across * plan.V_point, plan.V_point
    place = place_of(plan, min(tiles[0], plan.tiles - 1))
    for t in range(tiles[0], tiles[1]):
        if tiles[0] < t < plan.tiles:
            place = place_after(plan, place)
        n, th, tw = place
        h, w = plan.first_rows[th], plan.first_columns[tw]
        image, to = n * plan.IH * plan.IW * plan.x_pixel + group * plan.IC, (t - origin) * plan.V_tile - channels[0]
        whole = plan.whole_rows[th] + plan.whole_columns[tw] == 2
        at = image + plan.row_offsets[h] + plan.column_offsets[w]
        for c in range(channels[0], channels[1], BT.LANES):
            if whole and c + BT.LANES <= plan.IC:
                d = load_grid(BT, x, at + c, plan.DH * plan.IW * plan.x_pixel, plan.DW * plan.x_pixel)
                store_grid(BT, both_sides(BT, d), V, to + c, down, across)
            else:
                d = gather_grid(BT, x, image + c, (plan.row_offsets, h, plan.DH), (plan.column_offsets, w, plan.DW), plan.IC - c)
                store_grid(BT, both_sides(BT, d), V, to + c, down, across)


@outlined
def transform_outputs(AT, plan, M, group, origin, tiles, channels, out):
    """y of these tiles = A^T M A + bias, not below the lower bound"""
    (bias, y), tile = out, result_tile(AT)
    place = place_of(plan, tiles[0])
    for t in range(tiles[0], tiles[1]):
        if t > tiles[0]:
            place = place_after(plan, place)
        n, th, tw = place
        h, w = plan.first_rows[th], plan.first_columns[tw]
        to, at = ((n * plan.OH + h) * plan.OW + w) * plan.y_pixel + group * plan.OC, (t - origin) * plan.M_tile - channels[0]
        down, across = plan.DH * plan.OW * plan.y_pixel, plan.DW * plan.y_pixel
        height, width = plan.tile_heights[th], plan.tile_widths[tw]
        for c in range(channels[0], channels[1], AT.LANES):
            grid = both_sides(AT, load_grid(AT, M, at + c, plan.across * plan.M_point, plan.M_point))
            grid = clamp(tile, add_row(tile, grid, bias, group * plan.OC + c, plan.OC - c), plan.lower_bound)
            if height * width == plan.height * plan.width and c + AT.LANES <= plan.OC:
                store_grid(AT, grid, y, to + c, down, across)
            else:
                store_part(AT, grid, y, to + c, (down, across), (height, width), plan.OC - c)


@outlined
def transform_weights(G, square, plan, w, place, taps, U):
    """U[k, i, n] = (G w G^T)[k] for LANES input channels and a panel of outputs. w: (3, 3, IC, OC), or (3, 3, OC, IC) and turned round if flip.

    place: the group, the panel, the first input channel; taps: scratch, (9, LANES, LANES).
    """
    (group, p, ic), LANES, area, NR = place, G.LANES, G.LANES * G.LANES, plan.NR
    KW = plan.across - plan.width + 1
    turn, first = (-area, (plan.taps - 1) * area) if plan.flip else (area, 0)
    for r in range(0, NR, LANES):
        n = p * NR + r
        if n < plan.OC:
            load_taps(square, plan, w, (group, ic, n), taps)
        for i in range(min(LANES, plan.IC - ic)):
            grid = load_grid(G, taps, first + i * LANES, KW * turn, turn)
            store_grid(G, both_sides(G, grid), U, i * NR + r, plan.across * plan.U_point, plan.U_point)


@serial
def load_taps(square, plan, w, place, taps):
    """taps[k, i, j] = w[k, ic + i, n + j], or w[k, n + j, ic + i] if flip"""
    (group, ic, n), LANES = place, square.LANES
    for k in range(plan.taps):
        rows = offsets_apart(square, LANES, LANES)
        if plan.flip:
            at = k * plan.OC * plan.x_pixel + group * plan.IC
            block = load_rows(square, w, offsets_apart(square, plan.x_pixel, plan.OC - n), at + n * plan.x_pixel + ic, plan.IC - ic)
            store_rows(square, transpose(square, block), taps, rows, k * LANES * LANES, LANES)
        else:
            at = k * plan.IC * plan.y_pixel + group * plan.OC
            block = load_rows(square, w, offsets_apart(square, plan.y_pixel, plan.IC - ic), at + ic * plan.y_pixel + n, plan.OC - n)
            store_rows(square, block, taps, rows, k * LANES * LANES, LANES)


@outlined
def transform_gradients(A, plan, dy, group, origin, tiles, channels, out):
    """M[k, t, n] = (A dy A^T)[k]; where a bias gradient is wanted, sums[n] += the sum over dy[n]"""
    M, sums = out
    down, across = plan.across * plan.M_point, plan.M_point
    place = place_of(plan, tiles[0])
    for t in range(tiles[0], tiles[1]):
        if t > tiles[0]:
            place = place_after(plan, place)
        n, th, tw = place
        h, w = plan.first_rows[th], plan.first_columns[tw]
        image, to = n * plan.OH * plan.OW * plan.y_pixel + group * plan.OC, (t - origin) * plan.M_tile - channels[0]
        at = image + (h * plan.OW + w) * plan.y_pixel
        whole = plan.tile_heights[th] == plan.height and plan.tile_widths[tw] == plan.width
        for c in range(channels[0], channels[1], A.LANES):
            if whole and c + A.LANES <= plan.OC:
                grid = load_grid(A, dy, at + c, plan.DH * plan.OW * plan.y_pixel, plan.DW * plan.y_pixel)
            else:
                grid = gather_grid(A, dy, image + c, (plan.gradient_rows, h, plan.DH), (plan.gradient_columns, w, plan.DW), plan.OC - c)
            if len(sums) > 0:
                add_to_totals(one_row(result_tile(A)), total_of_grid(A, grid), sums, c, 0)
            store_grid(A, both_sides(A, grid), M, to + c, down, across)


@outlined
def transform_back(GT, plan, dU, group, inputs, panels, partial):
    """partial[kh, kw, ic, n] = (G^T dU[:, p, ic, n] G)[kh, kw] for these input channels and panels of outputs; dU begins with the first of them"""
    tiles, NR = plan.tiles, plan.tiles.NR
    KW = tiles.across - tiles.width + 1
    row = tiles.IC * tiles.y_pixel
    for p in range(panels[0], panels[1]):
        for ic in range(inputs[0], inputs[1]):
            for n in range(p * NR, min(tiles.OC, (p + 1) * NR), GT.LANES):
                at = ((p - panels[0]) * plan.rows + ic - inputs[0]) * NR + n - p * NR
                grid = both_sides(GT, load_grid(GT, dU, at, tiles.across * plan.U_point, plan.U_point))
                to = ic * tiles.y_pixel + group * tiles.OC + n
                if n + GT.LANES <= tiles.OC:
                    store_grid(GT, grid, partial, to, KW * row, row)
                else:
                    store_part(GT, grid, partial, to, (KW * row, row), (tiles.taps // KW, KW), tiles.OC - n)
