"""A convolution is a fully connected layer with most weights forced to 0 and the others shared."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastconv import data, ops
from fastconv.explain import as_dense_matrix, fold, ties
from fastconv.layers import Conv2d
from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text, beside, numbers, same, signed, table, word
from fastconv.lessons.tied_net import TiedNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

X = np.array([[1.0, 0, 2, 1], [3, 1, 0, 2], [0, 2, 1, 1], [1, 0, 3, 2]])
W = np.array([[1.0, -1, 2], [4, 3, -2], [-3, 1, 2]])
DY = np.array([[1.0, -2], [3, -1]])
EPOCHS, STARTS, MAPS = 6, 5, 4


def layer() -> Conv2d:
    conv = Conv2d(1, 1, 3, bias=False, dtype=np.float64)
    conv.weight.value = W[None, None]
    return conv


def letters(table: np.ndarray) -> str:
    """The matrix with a letter for each weight and a dot for each forced zero."""
    return "\n".join(" ".join("." if i < 0 else "abcdefghi"[i] for i in row) for row in table)


def untied(shared: np.ndarray) -> np.ndarray:
    """The table of a fully connected layer of the same size: every entry is a weight of its own."""
    return np.arange(shared.size).reshape(shared.shape)


class Measured(NamedTuple):
    name: str
    weights: int
    digits: np.ndarray  # test accuracy in percent, one per start
    shuffled: np.ndarray  # with the pixels of all images in one other order, another for each start

    @property
    def change(self) -> np.ndarray:
        return self.shuffled - self.digits


def prior() -> list[Measured]:
    """Nets that differ in their first layer's table of ties only: fully connected, and a convolution."""
    (x, y), (x_test, y_test) = data.digits()
    x, x_test = (images.reshape(len(images), -1).astype(np.float64) for images in (x, x_test))
    shared = ties(Conv2d(1, MAPS, 3), (1, 1, 8, 8))
    results = []
    for name, entries, fan_in in (("fully connected", untied(shared), 64), ("convolution", shared, 9)):
        accuracies = np.zeros((2, STARTS))
        for start in range(STARTS):
            shuffle = np.random.default_rng(100 + start).permutation(64)
            for i, pixels in enumerate((np.arange(64), shuffle)):
                net = TiedNet(entries, MAPS, 6, seed=start, fan_in=fan_in)
                net.fit(x[:, pixels], y, epochs=EPOCHS, seed=start)
                accuracies[i, start] = 100 * net.accuracy(x_test[:, pixels], y_test)
        results.append(Measured(name, net.w.size, *accuracies))
    return results


def blocks() -> Iterator[Block]:
    conv, x, dy = layer(), X[None, None], DY[None, None]
    where = ties(conv, x.shape)

    yield Step("The matrix")
    yield Text("""
        A convolution lays a small grid of weights, the filter, on each patch of the image, multiplies cell by cell and adds up: one output
        for each place. A fully connected layer is a matrix: one row for each output, one column for each input, `y = M @ x` (`@` is the
        matrix product). Write the 16 pixels of a 4x4 image in one line, row after row, and the four outputs of a 3x3 filter in another. Call the
        nine weights a to i. Which of them connects which pixel with which output? A dot means none: the pixel lies outside of the patch which
        that output sees. (A bias, one per filter instead of one per output, is left out here.)
    """)
    yield beside(filter="a b c\nd e f\ng h i", M=letters(where))
    yield Text(f"""
        Four rows, 16 columns: a fully connected layer would have {where.size} weights here. This one has {(where >= 0).sum()} entries that
        are not forced to be 0, and they are {len(np.unique(where[where >= 0]))} numbers only, each standing in {(where == 0).sum()} places.
        Forced zeros and shared weights: those are the two differences. Now with numbers:
    """)
    matrix = as_dense_matrix(conv, x.shape)
    yield beside(x=X, w=W)
    yield beside(M=matrix)
    y = ops.conv2d(x, conv.weight.value)
    first = " + ".join(f"{value:g} * {signed(weight)}" for value, weight in zip(X[:3, :3].ravel(), W.ravel()) if value)
    yield Text(f"""
        M times the 16 pixels gives y = {", ".join(word(value) for value in y.ravel())}; the first is {first} = {y.ravel()[0]:g}, leaving out what is
        times 0.
    """)
    yield same("M @ x is what the library's convolution ops.conv2d computes", matrix @ x.ravel(), y.ravel())
    yield Picture("matrix", "The matrix of a 3x3 filter on an 8x8 image: 36 outputs, 64 inputs; a colour for each weight, white is zero.",
                  draw_matrix, (8, 4.8))  # fmt: skip

    yield Step("Backpropagation, the way you know it")
    yield Text(f"""
        `dy` is the derivative of the loss by each output: the delta you know, since there is no activation function here. In a fully
        connected layer, the gradient of the weight between pixel p and output o is `dM[o,p] = dy[o] * x[p]`. Compute that for the whole matrix,
        as if it were an ordinary one, for some `dy` (printed as a grid, to show where it belongs; in the formula it is the line
        {", ".join(word(v) for v in DY.ravel())}):
    """)
    dm = np.outer(dy.ravel(), x.ravel())
    yield beside(dy=DY, dM=dm)
    yield Text("""
        Two rules make it a convolution's gradient. A forced zero is no parameter: it must stay 0, so its entry of dM is dropped. And a
        shared weight stands in four places: change it, and all four entries of M change, so its gradient is the sum of their four entries
        of dM. For weight a, these are the entries where the letter a stands:
    """)
    rows, columns = np.nonzero(where == 0)
    total = " + ".join(signed(dm[r, c]) for r, c in zip(rows, columns))
    yield Board(f"da = {' + '.join(f'dM[{r},{c}]' for r, c in zip(rows, columns))} = {total} = {dm[where == 0].sum():g}")
    dw = fold(dm, where, W.shape)
    yield Text("All nine, folded in this way:")
    yield Board(numbers(dw))
    yield same("the folded gradient is what ops.conv2d_weight_grad computes", dw, ops.conv2d_weight_grad(x, dy, 3)[0, 0])
    nine = " + ".join(f"{signed(weight)} * {signed(d)}" for weight, d in zip(matrix[:, 9], dy.ravel()))
    yield Text(f"""
        What the layer before gets is the rule you know, too: `dx[p] = sum over o of M[o,p] * dy[o]`. The zeros add nothing, so only the outputs
        which have seen the pixel count. For pixel 9, in row 2 and column 1: {nine} = {matrix[:, 9] @ dy.ravel():g}. All 16, as a grid:
    """)
    dx = (matrix.T @ dy.ravel()).reshape(X.shape)
    yield Board(numbers(dx))
    yield same("M transposed times dy is what ops.conv2d_input_grad computes", dx, ops.conv2d_input_grad(dy, conv.weight.value, x.shape)[0, 0])
    yield Text("""
        Several filters give several outputs per place (maps): more rows, with weights of their own. Several numbers per pixel, such as red,
        green and blue (channels), are more columns. A border of zeros around the image (padding) adds outputs, so rows; larger steps
        (stride) drop rows. The two rules stay the same.
    """)

    yield Step("Why force zeros and share weights? Shuffle the pixels")
    yield Text("""
        Fewer free numbers need fewer examples to be settled, less memory and less arithmetic, and each is settled by all places of every
        image. The price: such a layer can express less. That does no harm where what it cannot express is not needed. A convolution believes
        beforehand (it is a prior) that pixels which belong together are neighbours, and that a pattern means the same wherever it is. A fully
        connected layer believes nothing: give it the pixels in any other order, the same for all images, and with its columns in that
        order it is the same net.
    """)
    (_, y_train), (_, y_test) = data.digits()
    yield Text(f"""
        Measured here, on 8x8 images of handwritten digits: a first layer from 64 pixels to {MAPS} maps of 6x6, ReLU (negative values become 0),
        the largest of each 2x2 square (max pooling), a last fully connected layer. Once the first layer is fully connected, once it has a
        convolution's zeros and shared weights; all else is the same. Trained {EPOCHS} times over {len(y_train):,} images, tested on
        {len(y_test)} others. Then all again
        with the 64 pixels of every image shuffled into one other order. The mean of {STARTS} random starts, and the spread (standard deviation)
        of the change:
    """)
    measured = prior()
    yield table(
        tuple(m.name for m in measured), tuple(f"{m.weights:,}" for m in measured),
        *(tuple(f"{accuracies.mean():.1f} %" for accuracies in column) for column in zip(*((m.digits, m.shuffled) for m in measured))),
        tuple(f"{m.change.mean():+.1f}" for m in measured), tuple(f"{m.change.std():.1f}" for m in measured),
        heads=("first layer", "its weights", "digits", "shuffled", "change in points", "spread"),
    )  # fmt: skip
    yield Text(f"""
        With the neighbours in place, {measured[1].weights} shared weights come close to {measured[0].weights:,} free ones. With the
        neighbours gone, both beliefs of the convolution are wrong, and it loses much more than the spread; for the fully connected layer
        nothing has changed but the names of its columns.
    """)

    yield Step("The same wherever it is: shift the image")
    yield Text("""
        Shared weights have a consequence that no training is needed for: what is learned at one place need not be learned again at another.
        A small image with one blob, and the same image shifted by one column, through the filter `w` above:
    """)
    blob = np.zeros((5, 7))
    blob[1:3, 1:3] = [[1, 2], [3, 1]]
    shifted = np.roll(blob, 1, axis=1)
    one, two = (ops.conv2d(image[None, None], W[None, None])[0, 0] for image in (blob, shifted))
    yield beside(**{"image": blob, "map": one})
    yield beside(**{"shifted image": shifted, "its map": two})
    yield Text("The map moves one column to the right; its last column drops out, and a new one comes in on the left.")
    yield same("the new map, without its first column, is the old one without its last", two[:, 1:], one[:, :-1])


def draw_matrix(figure: "Figure") -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    table = ties(Conv2d(1, 1, 3), (1, 1, 8, 8))
    colours = ["#ffffff", "#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#dd8800", "#223355"]
    ax = figure.subplots()
    ax.imshow(table, cmap=ListedColormap(colours), vmin=-1.5, vmax=8.5)
    ax.set(xlabel="input pixel, row after row", ylabel="output", xticks=range(0, 64, 8), yticks=range(0, 36, 6))
    ax.legend(
        handles=[Patch(color=colour, label=letter) for colour, letter in zip(colours[1:], "abcdefghi")],
        loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, title="weight",
    )  # fmt: skip


LESSON = Lesson(
    "dense",
    "A convolution is a fully connected layer with forced zeros and shared weights",
    "I know backpropagation through fully connected layers. What is different in a convolution, and why would one want fewer weights?",
    "A convolution is a matrix like any fully connected layer, with two rules: entries that are forced to 0 get no gradient, and a weight that "
    "stands in many places gets the sum of their gradients. Fewer weights are enough because images are made of neighbours, and a pattern means "
    "the same everywhere: what is learned at one place holds at all.",
    blocks,
)
