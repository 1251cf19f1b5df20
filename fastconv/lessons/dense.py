"""A convolution is a fully connected layer with most weights forced to 0 and the others shared."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fastconv import data, ops
from fastconv.explain import as_dense_matrix, fold, ties
from fastconv.layers import Conv2d
from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text, beside, numbers, same, signed, table
from fastconv.lessons.tied_net import TiedNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

X = np.array([[1.0, 0, 2, 1], [3, 1, 0, 2], [0, 2, 1, 1], [1, 0, 3, 2]])
W = np.array([[1.0, -1, 2], [0, 3, -2], [-3, 1, 2]])
DY = np.array([[1.0, -2], [3, -1]])
IMAGES, EPOCHS, SEEDS, MAPS = 200, 40, 3, 8


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


def prior() -> list[tuple[str, int, float, float]]:
    """For a dense and a convolutional first layer: name, weights, mean test accuracy on digits and on digits with shuffled pixels."""
    (x, y), (x_test, y_test) = data.digits()
    x, x_test = x[:IMAGES].reshape(IMAGES, -1).astype(np.float64), x_test.reshape(len(x_test), -1).astype(np.float64)
    order = np.random.default_rng(7).permutation(64)
    shared = ties(Conv2d(1, MAPS, 3), (1, 1, 8, 8))
    rows = []
    for name, entries, fan_in in (("fully connected", untied(shared), 64), ("convolution", shared, 9)):
        accuracies = np.zeros(2)
        for seed in range(SEEDS):
            for i, pixels in enumerate((np.arange(64), order)):
                net = TiedNet(entries, MAPS, 6, seed=seed, fan_in=fan_in)
                net.fit(x[:, pixels], y[:IMAGES], epochs=EPOCHS, seed=seed)
                accuracies[i] += net.accuracy(x_test[:, pixels], y_test) / SEEDS
        rows.append((name, net.w.size, *accuracies))
    return rows


def blocks() -> Iterator[Block]:
    conv, x, dy = layer(), X[None, None], DY[None, None]
    where = ties(conv, x.shape)

    yield Step("The matrix")
    yield Text("""
        A fully connected layer is a matrix: one row for each output, one column for each input, `y = M @ x`. Write the 16 pixels of a 4x4
        image in one line, row after row, and the four outputs of a 3x3 filter in another. Call the nine weights a to i. Which of them
        connects which pixel with which output? A dot means none: the pixel lies outside of the patch which that output sees.
    """)
    yield beside(filter="a b c\nd e f\ng h i", M=letters(where))
    yield Text(f"""
        Four rows, 16 columns: a fully connected layer would have {where.size} weights here. This one has {(where >= 0).sum()} entries that
        are not forced to be 0, and they are {len(np.unique(where[where >= 0]))} numbers only, each standing in {(where == 0).sum()} places.
        Those are the only two differences: forced zeros, and shared weights. Now with numbers:
    """)
    matrix = as_dense_matrix(conv, x.shape)
    yield beside(x=X, w=W, M=matrix)
    y = ops.conv2d(x, conv.weight.value)
    yield same("M times the 16 pixels is what the convolution computes", matrix @ x.ravel(), y.ravel())
    yield same("M holds the filter's weights where the letters stand, and zeros", matrix, np.where(where >= 0, W.ravel()[where], 0))
    yield Picture("matrix", "The matrix of a 3x3 filter on an 8x8 image: 36 outputs, 64 inputs; a colour for each weight, white is zero.",
                  draw_matrix, (8, 4.8))  # fmt: skip

    yield Step("Backpropagation, the way you know it")
    yield Text("""
        In a fully connected layer, the gradient of the weight between input i and output o is the input times the delta of the output:
        `dM[o,i] = dy[o] * x[i]`. Compute that for the whole matrix, as if it were an ordinary one, with a `dy` for the four outputs:
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
    yield same("the folded gradient is the filter's, by ops.conv2d_weight_grad", dw, ops.conv2d_weight_grad(x, dy, 3)[0, 0])
    yield Text("""
        The gradient for the layer before is the dense rule, too: the delta of an input is the sum over all outputs of their delta times the
        weight between, `dx[i] = sum over o of M[o,i] * dy[o]`. The zeros add nothing, so only the outputs which have seen the pixel count.
    """)
    dx = (matrix.T @ dy.ravel()).reshape(X.shape)
    yield Board(numbers(dx))
    yield same("M transposed times dy is what ops.conv2d_input_grad computes", dx, ops.conv2d_input_grad(dy, conv.weight.value, x.shape)[0, 0])
    yield Text("""
        So a convolution needs no theory of its own. It is the fully connected layer you know, computed without the zeros. Several output
        maps are more rows, several input channels are more columns, and a border of zeros (padding) or larger steps (stride) only change
        which entries are not 0.
    """)

    yield Step("Why force zeros and share weights? Shuffle the pixels")
    yield Text("""
        A layer with fewer free numbers can express less. That helps only where what it cannot express is not needed. A convolution believes
        two things beforehand (a prior): that pixels which belong together are neighbours, and that a pattern means the same wherever it is. A
        fully connected layer believes nothing: give it the pixels in any other order, the same for all images, and it learns just as well,
        because it only has to reorder its columns.
    """)
    yield Text(f"""
        Measured here: a first layer to {MAPS} maps of 6x6, ReLU, the largest of each 2x2 square (max pooling), a last fully connected layer.
        Once the first layer is dense, once it has a convolution's zeros and ties, with the very same code. Trained on {IMAGES} images of
        handwritten digits, {EPOCHS} times over, tested on 360 others; the mean of {SEEDS} starts. Then all again with the 64 pixels of every
        image in one and the same random order.
    """)
    measured = prior()
    yield table(
        tuple(name for name, *_ in measured), tuple(f"{weights:,}" for _, weights, *_ in measured),
        *(tuple(f"{100 * row[column]:.1f} %" for row in measured) for column in (2, 3)),
        heads=("first layer", "weights", "digits", "shuffled digits"),
    )  # fmt: skip
    (_, many, dense, dense_shuffled), (_, few, shared, shared_shuffled) = measured
    yield Text(f"""
        Shuffling changed the fully connected net by {100 * (dense_shuffled - dense):+.1f} points, chance, and the convolution
        by {100 * (shared_shuffled - shared):+.1f}: with the neighbours gone, its belief is wrong, and {few} weights are not enough. With
        the neighbours in place they do about as well as {many:,}.
    """)

    yield Step("The same wherever it is: shift the image")
    yield Text("""
        Shared weights have a consequence that no training is needed for: shift the input by one column, and the map shifts by one column.
        A small image with one blob, and the same image shifted, through the filter:
    """)
    blob = np.zeros((5, 7))
    blob[1:3, 1:3] = [[1, 2], [3, 1]]
    shifted = np.roll(blob, 1, axis=1)
    one, two = (ops.conv2d(image[None, None], W[None, None])[0, 0] for image in (blob, shifted))
    yield beside(**{"image": blob, "map": one})
    yield beside(**{"shifted image": shifted, "its map": two})
    yield same("the map of the shifted image is the shifted map", two[:, 1:], one[:, :-1])


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
    "Nothing is different but two rules: entries of the matrix that are forced to 0 get no gradient, and a weight that stands in many places "
    "gets the sum of their gradients. Fewer weights pay because images are made of neighbours, and a pattern means the same everywhere.",
    blocks,
)
