"""One filter, 900 places: how shared weights stay shared."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fastconv import data, ops
from fastconv.explain import Terms, weight_terms
from fastconv.layers import Conv2d, Layer, Linear
from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text, beside, numbers, same, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOBEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])  # finds vertical edges (Sobel 1968)
LR = 0.001
UPDATES = 3000


def images() -> np.ndarray:
    """(2, 1, 32, 32): two digits, each pixel four times as wide and high."""
    x = data.digits()[0][0][:2].astype(np.float64)
    return np.kron(x, np.ones((4, 4)))


def count(layer: Layer) -> int:
    return sum(p.size for p in layer.parameters())


def loss(x: np.ndarray, w: np.ndarray) -> tuple[float, np.ndarray]:
    """Half the sum of squared differences between the filter's map and Sobel's, and its derivative by the map: dy."""
    difference = ops.conv2d(x, w) - ops.conv2d(x, SOBEL[None, None])
    return float((difference**2).sum() / 2), difference


def contributions(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """(3, 3, images * 900): for each weight, what each place adds to its gradient."""
    conv = Conv2d(1, 1, 3, bias=False, dtype=np.float64)
    cells = [[weight_terms(conv, x, dy, (0, 0, kh, kw)).products for kw in range(3)] for kh in range(3)]
    return np.array(cells)


def place(terms: Terms, i: int) -> str:
    """One of the products, with the cells that it comes from."""
    (_, _, ih, iw), (_, _, oh, ow) = terms.left.index[i], terms.right.index[i]
    return f"  x[{ih},{iw}] * dy[{oh},{ow}] = {terms.left.values[i]:.4f} * ({terms.right.values[i]:.4f}) = {terms.products[i]:.4f}"


def blocks() -> Iterator[Block]:
    yield Step("How many parameters?")
    conv, dense, colour = Conv2d(1, 1, 3), Linear(32 * 32, 30 * 30), Conv2d(3, 1, 3)
    yield Text("""
        A 3x3 filter fits into a 32x32 image at 32 - 3 + 1 = 30 positions in each direction: 900 places. Their outputs are the filter's map.
        At each place the same nine weights are used, and the same bias is added. A fully connected layer to as many outputs has a weight for
        each pair of an input and an output, and a bias for each output. A colour image has three grids (channels), and the filter a 3x3 slice
        for each; the three results and the bias are added, which gives one map. Shapes are channels x height x width:
    """)
    yield table(
        ("convolution, one 3x3 filter", "fully connected", "convolution on colour images"),
        ("1x32x32 -> 1x30x30", "1024 -> 900", "3x32x32 -> 1x30x30"),
        tuple(str(layer.weight.shape) for layer in (conv, dense, colour)),
        tuple(f"{count(layer):,}" for layer in (conv, dense, colour)),
        heads=("layer", "from -> to", "shape of the weights", "parameters"),
    )  # fmt: skip
    yield Text("""
        So there are not 900 filters that must be kept equal: there is one array of nine numbers, and 900 places read it. What has to be found is
        one gradient for each of the nine, and one for the bias.
    """)

    x = images()
    w = np.zeros((1, 1, 3, 3))
    start, dy = loss(x[:1], w)
    yield Step("A gradient is a sum over all places")
    yield Text("""
        An example to look at, without a bias. The image `x` is a handwritten digit of 8x8 pixels, each enlarged to 4x4; 0 is paper, 1 is full
        ink. The filter starts with nine zeros, and its map should become that of Sobel's filter, which answers at vertical edges. The loss
        is half the sum of the squared differences over all 900 places. Its derivative by each cell of the map is called `dy`: the map minus
        Sobel's map there. At the start the map is 0, so `dy` is minus Sobel's map.
    """)
    yield beside(**{"w at the start": w[0, 0], "Sobel's filter, to be found": SOBEL})
    yield Text("""
        Raise one weight by a little, and each of the 900 outputs changes by what it has read through that weight, times the rise. The loss
        feels all these changes together. So the gradient of a weight is the sum of 900 products: what was read through it, times `dy` there.
        Many are 0, where there is no ink, or no edge. Weight `w[0,2]`, in the upper right, reads at place `oh, ow` of the map the pixel 0 rows
        below and 2 columns to the right; three of its products that are furthest from 0:
    """)
    terms = weight_terms(Conv2d(1, 1, 3, bias=False, dtype=np.float64), x[:1], dy, (0, 0, 0, 2))
    largest = np.argsort(-abs(terms.products), kind="stable")[:3]
    yield Board("dw[0,2] = sum over all oh, ow of x[oh + 0, ow + 2] * dy[oh, ow]\n" + "\n".join(place(terms, i) for i in largest))
    yield Text("All nine, each from 900 products:")
    parts = contributions(x[:1], dy)
    dw = parts.sum(axis=2)
    cells = [(kh, kw) for kh in range(3) for kw in range(3)]
    yield table(
        tuple(f"w[{kh},{kw}]" for kh, kw in cells),
        tuple(int((parts[cell] != 0).sum()) for cell in cells),
        tuple(f"{parts[cell].min():.2f}" for cell in cells),
        tuple(f"{parts[cell].max():.2f}" for cell in cells),
        tuple(f"{dw[cell]:.2f}" for cell in cells),
        heads=("weight", "products not 0", "most negative", "most positive", "sum: the gradient"),
    )  # fmt: skip
    yield same("the library's own function ops.conv2d_weight_grad gives these nine sums", dw, ops.conv2d_weight_grad(x[:1], dy, 3)[0, 0])
    yield Picture("contributions", "What each of the 900 places adds to the gradient of each weight: blue adds, red takes away.",
                  lambda figure: draw(figure, parts), (7, 7))  # fmt: skip
    yield Text("""
        A bias would be a tenth weight, used at every place, with 1 for what it reads: its gradient is the plain sum of `dy`. And a batch
        only makes the sum longer: with two images each weight has been used at 1,800 places.
    """)
    _, dy2 = loss(x, w)
    both = ops.conv2d_weight_grad(x, dy2, 3)[0, 0]
    yield same("the gradient over two images is the sum of their two gradients", both, dw + ops.conv2d_weight_grad(x[1:], dy2[1:], 3)[0, 0])

    yield Step("Is it an average?")
    average = parts.mean(axis=2)
    yield Text(f"""
        No, a sum; but the two differ by a factor only, 900, the number of places. One update with the sum and the learning rate {LR:g} is one
        update with the average and the learning rate {900 * LR:g}:
    """)
    by_sum, by_average = -LR * dw, -(900 * LR) * average
    yield beside("8.4f", **{"w - lr * sum": by_sum, "w - (900 lr) * average": by_average})
    yield same("the two updates are one", by_sum, by_average)
    yield Text("""
        (A loss is often a mean, over the images or over all cells. Whatever it divides by is already in `dy`; the convolution itself divides by
        nothing.)
    """)

    yield Step("And if each place had its own copy?")
    copies = -LR * 900 * parts[0, 2]
    yield Text(f"""
        Imagine 900 copies of the upper right weight, one per place, each updated by its own contribution alone, with the larger learning
        rate {900 * LR:g}. After one update they lie between {copies.min():.2f} and {copies.max():.2f}: they have drifted apart, and the layer is
        no longer a convolution. Force them to be equal again by taking their mean, and you have {copies.mean():.4f}, the number above. That is the
        grain of truth in "some kind of average": sharing a weight and summing its gradients is the same as keeping equal copies, updating each
        with a 900 times larger learning rate, and averaging them after each update.
    """)
    yield same("the mean of the 900 updated copies is the one shared weight, updated once", copies.mean(), by_sum[0, 2])

    yield Step("It works")
    for _ in range(UPDATES):
        w = w - LR * ops.conv2d_weight_grad(x[:1], loss(x[:1], w)[1], 3)
    end, _ = loss(x[:1], w)
    yield Text(f"""
        {UPDATES} updates `w = w - lr * dw` on this one image, with lr = {LR:g}. The loss falls from {start:.1f} to {end:.2g}, and the filter has
        become Sobel's:
    """)
    yield Board(numbers(w[0, 0], ".3f"))
    yield same("the filter is Sobel's", w[0, 0], SOBEL, 1e-3)


def draw(figure: "Figure", parts: np.ndarray) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    axes = figure.subplots(3, 3)
    limit = abs(parts).max()
    colours = LinearSegmentedColormap.from_list("signed", ["#b2182b", "#ffffff", "#2166ac"])
    for (kh, kw), ax in np.ndenumerate(axes):
        image = ax.imshow(parts[kh, kw].reshape(30, 30), cmap=colours, vmin=-limit, vmax=limit)
        ax.set_title(f"w[{kh},{kw}]: sum {parts[kh, kw].sum():.1f}", fontsize=10)
        ax.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, shrink=0.6, label="contribution")


LESSON = Lesson(
    "shared-weights",
    "One filter, 900 places: how shared weights stay shared",
    "One 3x3 filter on a 32x32 image gives a 30x30 map. How many parameters is that? And when backpropagation runs at 900 positions, will the "
    "shared weights not drift apart? Is it some kind of average?",
    "Ten parameters: nine weights and a bias. They cannot drift apart, because each exists only once. Its gradient is the sum of what all 900 "
    "places (and all images of the batch) contribute, and it is updated once, with that sum. An average over the 900 places would point the "
    "same way, 900 times shorter.",
    blocks,
)
