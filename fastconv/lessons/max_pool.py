"""Max pooling: the gradient goes to the maximum, and to it alone."""

from collections.abc import Callable, Iterator

import numpy as np

from fastconv import data, ops
from fastconv.explain import ties
from fastconv.layers import Conv2d
from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text, beside, numbers, same, table
from fastconv.lessons.pictures import matrices
from fastconv.lessons.tied_net import TiedNet, to_all_four, to_the_largest

WINDOW = np.array([[2.0, 5], [8, 3]])
CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]
X = np.array([[2.0, 5, 1, 0], [8, 3, 4, 6], [7, 7, 0, 2], [1, 0, 9, 5]])
DY = np.array([[1.0, -2], [3, 0.5]])
TARGET, LR, UPDATES = 4.0, 0.25, 12
EPOCHS, SEEDS, MAPS = 5, 3, 8


def pool(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2x2 max pooling of one matrix: the maxima, and which cell of its square each was (0 1 in the upper row, 2 3 below)."""
    y, argmax = ops.max_pool2d(x[None, None], 2)
    return y[0, 0], argmax[0, 0]


def slopes(function: Callable[[np.ndarray], float], x: np.ndarray, nudge: float = 1e-3) -> np.ndarray:
    """By how much the function rises per unit of each cell: every cell nudged up and down."""
    rises = np.zeros_like(x)
    for cell in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[cell] = nudge
        rises[cell] = (function(x + step) - function(x - step)) / (2 * nudge)
    return rises


def right_rule(x: np.ndarray, dy: float) -> np.ndarray:
    return ops.max_pool2d_grad(np.full((1, 1, 1, 1), dy), ops.max_pool2d(x[None, None], 2)[1], (1, 1, 2, 2), 2)[0, 0]


def even_rule(x: np.ndarray, dy: float) -> np.ndarray:
    """The guess to be refuted."""
    return np.full_like(x, dy / 4)


def descend(rule: Callable[[np.ndarray, float], np.ndarray]) -> list[np.ndarray]:
    """The window, updated UPDATES times so that its maximum becomes TARGET: loss (max - TARGET)**2 / 2."""
    path = [WINDOW]
    for _ in range(UPDATES):
        x = path[-1]
        path.append(x - LR * rule(x, float(x.max()) - TARGET))
    return path


def nets() -> dict[str, np.ndarray]:
    """Nets that differ in the rule only: loss of the last epoch, test accuracy, share of zeros behind the pooling; means over SEEDS starts."""
    (x, y), (x_test, y_test) = data.digits()
    x, x_test = (images.reshape(len(images), -1).astype(np.float64) for images in (x, x_test))
    results = {}
    for name, rule in (("to the largest", to_the_largest), ("a quarter to each", to_all_four)):
        rows = []
        for seed in range(SEEDS):
            net = TiedNet(ties(Conv2d(1, MAPS, 3), (1, 1, 8, 8)), MAPS, 6, seed=seed, fan_in=9, rule=rule)
            losses = net.fit(x, y, epochs=EPOCHS, lr=0.02, seed=seed)
            _, spread, _ = net.gradients(x_test, y_test)
            rows.append((losses[-1], net.accuracy(x_test, y_test), np.mean(spread == 0)))
        results[name] = np.mean(rows, axis=0)
    return results


def blocks() -> Iterator[Block]:
    yield Step("One window")
    yield Text("""
        A map is a grid of numbers, each saying how strongly some pattern was found at that place. Max pooling cuts it into squares of 2x2
        cells and keeps the largest value of each: a smaller map, which says that the pattern was there without saying exactly where.
        One square:
    """)
    maximum = pool(WINDOW)[0]
    yield beside(x=WINDOW, y=maximum)
    yield Text("""
        Going back, `dy` says how much the loss rises per unit of the output. By how much does the output rise per unit of each cell? Try it:
        move one cell 0.001 up, then 0.001 down, and divide the difference of the two outputs by 0.002. For each of the four cells:
    """)
    measured = slopes(lambda x: float(x.max()), WINDOW)
    yield Board(numbers(measured, ".4f"))
    raised = WINDOW + np.array([[0, 0], [0, 4]])
    higher = WINDOW + np.array([[0, 0], [0, 6]])
    yield Text(f"""
        Only the 8 counts. Raise the 3 as far as 7, and the output is still {pool(raised)[0][0, 0]:g}: the derivative by a cell that is not the
        maximum is not small, it is 0. (Raise it to 9, and the output is {pool(higher)[0][0, 0]:g}: it has become the maximum. A derivative speaks of
        small changes.)
    """)

    yield Step("So where does the gradient go?")
    yield Text("""
        By the chain rule a cell's gradient is `dy` times the derivative just measured: all of it to the maximum, nothing to the others. The
        guess "spread evenly, a quarter to each" would claim that the output rises by 0.25 per unit of each cell. With `dy` = 1:
    """)
    guess = even_rule(WINDOW, 1.0)
    yield beside(**{"ops.max_pool2d_grad": right_rule(WINDOW, 1.0), "measured": measured.round(4), "the guess": guess})
    yield same("the gradient is what nudging measures", right_rule(WINDOW, 1.0), measured, 1e-6)

    yield Step("A whole map: the mask")
    y, argmax = pool(X)
    dx = ops.max_pool2d_grad(DY[None, None], argmax[None, None], (1, 1, 4, 4), 2)[0, 0]
    mask = (np.kron(argmax, np.ones((2, 2))) == np.tile([[0, 1], [2, 3]], (2, 2))).astype(int)  # 1 in the cell that argmax names
    yield Text("""
        The forward pass remembers for each square which of its four cells was the largest (0 1 in the upper row, 2 3 in the lower). Backward,
        each `dy` is repeated in the four cells of its square and multiplied by a mask that is 1 in the remembered cell and 0 elsewhere.
    """)
    yield beside(x=X, y=y, **{"which cell": argmax, "mask": mask})
    yield beside(dy=DY, **{"dx": dx})
    yield same("ops.max_pool2d_grad is dy, repeated, times the mask", dx, np.kron(DY, np.ones((2, 2))) * mask)
    yield Text("""
        Two cells of the lower left square are 7: a tie. Exactly there the maximum has no derivative: raise either 7 and the output rises,
        lower one and nothing happens. Sharing `dy` between the two in any proportion is defensible; here the first in reading order gets
        it all. Ties at 0 are common after ReLU (negative values become 0) but harmless, since ReLU then passes nothing back. Where windows overlap,
        because they move on by less than their width, one cell may be the maximum of several: it gets the sum of their `dy`.
    """)
    largest = [tuple(cell) for cell in np.argwhere(mask)]
    yield Picture(
        "mask", "Each dy goes to the maximum of its square, and nowhere else.",
        lambda figure: matrices(figure, ("x", X, largest), "max", ("y", y), "...", ("dy", DY), "mask", ("dx", dx, largest)), (8, 2.5),
    )  # fmt: skip

    yield Step("What would even shares do?")
    right, even = descend(right_rule), descend(even_rule)
    yield Text(f"""
        Let the four cells be free numbers, and pull the maximum from 8 down to {TARGET:g}: the loss is (max - {TARGET:g})^2 / 2, so the
        gradient at the output is max - {TARGET:g}. The learning rate is {LR:g}: with the right rule the maximum moves by a quarter of its
        distance to {TARGET:g} in each update; with even shares each cell gets a quarter of the gradient, and moves by a sixteenth. At the
        start, after 4 updates, and after {UPDATES}:
    """)
    yield beside("6.2f", **{"maximum only": right[0], "after 4": right[4], f"after {UPDATES}": right[-1]})
    yield beside("6.2f", **{"even shares": even[0], "after 4": even[4], f"after {UPDATES}": even[-1]})
    yield Text("""
        With the right rule the 8 comes down alone until it is below the 5; from then on the two take turns, and 2 and 3 stay what they are.
        With even shares all four fall together. Their distances stay those of the start, after any number of updates: whoever was the
        maximum stays it, for ever. This rule can never change which cell of the window wins.
    """)
    yield same("even shares keep all differences", even[-1] - even[-1].max(), WINDOW - WINDOW.max())

    yield Step("In a net")
    yield Text(f"""
        In a net the cells are not free: each is a sum of pixels times weights, the same few weights (a filter) at every place of the image (a
        convolution). A step changes the weights, so the differences between cells can change even with the wrong rule, and the net
        learns something; but not as well. A convolution to {MAPS} maps, ReLU, 2x2 max pooling, one fully connected layer, trained for {EPOCHS} epochs
        on 8x8 images of handwritten digits, tested on others; the mean of {SEEDS} starts, the same for both rules:
    """)
    results = nets()
    yield table(
        tuple(results), tuple(f"{loss:.3f}" for loss, _, _ in results.values()),
        *(tuple(f"{100 * result[i]:.1f} %" for result in results.values()) for i in (1, 2)),
        heads=("gradient goes", "training loss", "test accuracy", "zeros in dx"),
    )  # fmt: skip
    yield Text("""
        The last column is the share of zeros in `dx`, the gradient at the input of the pooling: with the right rule, three cells of four.
    """)

    yield Step("Average pooling does spread")
    yield Text("""
        There is a pooling for which even shares are right: the mean of the four cells. It rises by 0.25 per unit of each cell.
    """)
    average = slopes(lambda x: float(x.mean()), WINDOW)
    spread = ops.avg_pool2d_grad(np.ones((1, 1, 1, 1)), (1, 1, 2, 2), 2)[0, 0]
    yield beside(**{"measured": average.round(4), "ops.avg_pool2d_grad": spread})
    yield same("average pooling's gradient is what nudging measures", spread, average, 1e-6)


LESSON = Lesson(
    "max-pool",
    "Max pooling: the gradient goes to the maximum alone",
    "How does a gradient pass back through max pooling? Is the gradient of the maximum spread over its whole square?",
    "No. Only the largest cell of a square moves the output, so it gets the whole gradient and the others get 0; the forward pass remembers "
    "which one it was. Spreading evenly is right for average pooling, where each cell really has its share of influence.",
    blocks,
)
