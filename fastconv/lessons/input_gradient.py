"""How the error passes back through a convolution: borders, several maps, stride and padding."""

from collections.abc import Iterator

import numpy as np

from fastconv import ops
from fastconv.explain import input_terms
from fastconv.layers import Conv2d
from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text, beside, numbers, same, written_out
from fastconv.lessons.pictures import matrices

SIZE = 5
W = np.array([[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], [[1, -2, -1], [2, 0, -2], [1, 2, -1]]])  # (OC, KH, KW): two filters
DY = np.array([[[1.0, 2, 0], [0, -1, 1], [3, 0, 2]], [[2.0, -1, 1], [1, -1, 0], [0, 2, -2]]])  # (OC, OH, OW): two maps
PIXEL = (0, 1)
VARIANTS = {"plain": {}, "padding 1": {"padding": 1}, "stride 2": {"stride": 2}, "padding 1, stride 2": {"padding": 1, "stride": 2}}


def layer(**words) -> Conv2d:
    """From one channel to two maps, without a bias."""
    conv = Conv2d(1, 2, 3, bias=False, dtype=np.float64, **words)
    conv.weight.value = W[:, None]
    return conv


def counts(**words) -> np.ndarray:
    """(SIZE, SIZE): in how many positions of a filter each pixel takes part."""
    conv = layer(**words)
    x = np.zeros((1, 1, SIZE, SIZE))
    dy = np.ones(conv.output_shape(x.shape))
    return np.array([[len(input_terms(conv, x, dy, (0, 0, ih, iw))) // 2 for iw in range(SIZE)] for ih in range(SIZE)])


def both_ways(words: dict) -> tuple[np.ndarray, np.ndarray]:
    """dx for a random dy: as a sum for each pixel, and by ops."""
    conv, x = layer(**words), np.zeros((1, 1, SIZE, SIZE))
    dy = np.random.default_rng(0).integers(-3, 4, conv.output_shape(x.shape)).astype(np.float64)
    sums = [input_terms(conv, x, dy, (0, 0, ih, iw)).total for ih, iw in np.ndindex(SIZE, SIZE)]
    return np.reshape(sums, (SIZE, SIZE)), ops.conv2d_input_grad(dy, W[:, None], x.shape, **words)[0, 0]


def scattered(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Each output of one map hands its dy back to the patch that it has read, times the weights."""
    KH, KW = w.shape
    dx = np.zeros((SIZE, SIZE))
    for oh, ow in np.ndindex(dy.shape):
        dx[oh : oh + KH, ow : ow + KW] += dy[oh, ow] * w
    return dx


def collected(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Each pixel collects from the outputs around it: the turned filter slides over dy in a border of zeros."""
    KH, KW = w.shape
    padded, turned = np.pad(dy, ((KH - 1, KH - 1), (KW - 1, KW - 1))), w[::-1, ::-1]
    return np.array([[(padded[ih : ih + KH, iw : iw + KW] * turned).sum() for iw in range(SIZE)] for ih in range(SIZE)])


def blocks() -> Iterator[Block]:
    conv = layer()
    x = np.zeros((1, 1, SIZE, SIZE))  # its values do not matter: the derivative of a product by one factor is the other
    dy = DY[None]
    true = ops.conv2d_input_grad(dy, conv.weight.value, x.shape)[0, 0]

    yield Step("The setting")
    yield Text("""
        A convolution lays a filter, here 3x3 weights, on a 3x3 patch of the image `x`, multiplies each weight by the pixel under it, and
        adds up the nine products: one output. On a 5x5 image a filter fits in 3 x 3 = 9 positions, so each of the two filters `w[0]` and
        `w[1]` makes a grid of 3x3 outputs, called a map: `y[0]` and `y[1]`.
    """)
    yield Text("""
        From the layer after it comes `dy`: how much the loss rises per unit of each output, one number for each of the 18. Wanted is
        `dx`: how much the loss rises per unit of each pixel. It is what the layer before gets as its own `dy`. (Books on fully connected nets
        say delta, and mean the derivative of the activation function with it; here an activation function is a layer of its own.)
    """)
    yield beside(**{"w[0]": W[0], "w[1]": W[1]})
    yield beside(**{"dy[0]": DY[0], "dy[1]": DY[1]})

    yield Step("Which outputs has a pixel influenced?")
    yield Text("""
        A pixel acts on the loss only through the outputs that used it. The pixel in the middle lies under the filter in all nine
        positions, a corner in one only. The count for each pixel, the same for both maps:
    """)
    yield Board(numbers(counts()))
    yield Text(f"""
        Take the pixel in row {PIXEL[0]}, column {PIXEL[1]}: two positions in each of two maps, four outputs. Each gives one product: the
        output's `dy` times the weight that lay on the pixel when that output was computed. Their sum is the pixel's gradient. An output that does not
        exist gives nothing, which is all that a border means. `dy[m][r,c]` is in map m, row r, column c; `w[m][i,j]` in filter m,
        row i, column j.
    """)
    terms = input_terms(conv, x, dy, (0, 0, *PIXEL))
    yield written_out(terms)
    yield Text(
        "Lines that begin with `checked` compare with another way to compute the same, here with the library's function `ops.conv2d_input_grad`."
    )
    yield same("this sum is that pixel's entry of ops.conv2d_input_grad", terms.total, true[PIXEL])

    yield Step("Several maps: the sum over them")
    one, two = scattered(DY[0], W[0]), scattered(DY[1], W[1])
    yield Text("""
        Each map sends back a grid of its own, made with its own filter (how: next section), and the grids are added cell by cell: an
        influence through two roads is the sum of the influences. (An image of several channels, say red, green and blue, has a part of each
        filter for each channel; each channel gets its own `dx`, again summed over the maps.)
    """)
    yield beside(**{"from map 0": one, "from map 1": two, "dx": one + two})
    yield same("their sum is ops.conv2d_input_grad of both maps", one + two, true)

    yield Step("Scatter, or collect")
    yield Text("""
        There are two ways to do all these sums. Scatter: go through the outputs; each adds its `dy` times the whole filter to the cells of
        `dx` that lie where its patch of `x` lay. For `dy[0][0,0]` = 1 that is the filter itself in the upper left corner; the next,
        `dy[0][0,1]` = 2, adds twice the filter one column to the right:
    """)
    first, second = (np.where(np.arange(9).reshape(3, 3) == i, DY[0], 0) for i in (0, 1))
    yield beside(**{"from dy[0][0,0]": scattered(first, W[0]), "from dy[0][0,1]": scattered(second, W[0]), "both": scattered(first + second, W[0])})
    yield Text("""
        Collect: go through the pixels, and let each fetch what it gets. Weight `w[i,j]` lay on pixel (r,c) when output (r-i, c-j) was
        computed: the larger the weight's index, the smaller the output's, down and across. Read the outputs forwards, and their weights
        come backwards: the filter turned by 180 degrees. So slide the turned filter over `dy` in a border of zeros, two wide, which stands
        for the outputs that do not exist; at each of the 25 positions the sum of the nine products is one cell of `dx`. Textbooks call this the
        full convolution with the flipped filter: "full" for the border, "flipped" for the turn.
    """)
    yield beside(**{"dy[0] in zeros": np.pad(DY[0], 2), "w[0] turned": W[0][::-1, ::-1], "collected": collected(DY[0], W[0])})
    seen = np.pad(DY[0], 2)[PIXEL[0] : PIXEL[0] + 3, PIXEL[1] : PIXEL[1] + 3]
    products = [f"{d:g} * {v:g}" for d, v in zip(seen.ravel(), W[0][::-1, ::-1].ravel()) if d]
    yield Text(f"""
        Row {PIXEL[0]}, column {PIXEL[1]}: {" + ".join(products)} = {(seen * W[0][::-1, ::-1]).sum():g}, the other products are 0.
        Scattering has several outputs adding into one pixel; collecting writes each pixel once, which is what a parallel program prefers.
    """)
    yield same("collecting gives what scattering gives", collected(DY[0], W[0]), one)
    outlined = [(PIXEL[0] + kh, PIXEL[1] + kw) for kh in range(3) for kw in range(3)]
    yield Picture(
        "collect", "The pixel in row 0, column 1 of dx collects from the outlined part of dy, through the turned filter.",
        lambda figure: matrices(
            figure, ("dy[0] in zeros", np.pad(DY[0], 2), outlined), "slide", ("w[0] turned", W[0][::-1, ::-1]), "=", ("dx from map 0", one, [PIXEL])
        ), (8, 3.4),
    )  # fmt: skip

    yield Step("Padding and stride")
    yield Text("""
        Padding 1 puts a ring of zeros around the image before the filter slides. The filter then visits 25 positions instead of nine,
        and border pixels take part in more of them. Stride 2 moves the filter two pixels at a time: fewer outputs, so most pixels take part
        in fewer, and the number varies even away from the border. The rule stays: sum over the outputs that used the pixel, each with the
        weight that lay on it. In how many positions each pixel takes part:
    """)
    grids = {name: counts(**words) for name, words in VARIANTS.items()}
    yield beside(gap=4, **grids)
    by_sums, by_ops = zip(*(both_ways(words) for words in VARIANTS.values()))
    yield same("in all four cases, with a random dy, the sums are ops.conv2d_input_grad", by_sums, by_ops)
    yield Text("""
        Seen as collecting: with padding P the border of zeros around `dy` is P narrower; with stride S, S - 1 zeros lie between any two
        neighbours of `dy`, for the positions that were skipped. A pixel that no position covers gets 0: between two positions if the stride is
        larger than the filter, or at the right and lower edge if no further step fits.
    """)
    yield Picture(
        "counts", "In how many positions of a 3x3 filter each pixel of a 5x5 image takes part.",
        lambda figure: matrices(figure, *grids.items()), (8, 2.3),
    )  # fmt: skip


LESSON = Lesson(
    "input-gradient",
    "How the error passes back through a convolution",
    "How do gradients go back through a convolution that has several output maps, and what happens at the borders? Why is the filter flipped?",
    "A pixel's gradient is a sum over the outputs it took part in: the output's delta times the weight that lay on the pixel. Several maps: the sum "
    "runs over all of them. Borders: fewer outputs, fewer summands. Seen from the pixel, the filter is turned by 180 degrees: that is the flip.",
    blocks,
)
