"""Two gradients leave a convolution: one for its filter, one for the layer before."""

from collections.abc import Iterator

import numpy as np

from fastconv import ops
from fastconv.explain import input_terms, output_terms, weight_terms
from fastconv.layers import Conv2d
from fastconv.lessons.blocks import Block, Lesson, Picture, Step, Text, beside, same, signed, table, written_out
from fastconv.lessons.pictures import matrices

X = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
W = np.array([[1.0, -2], [-3, 2]])
DY = np.array([[1.0, -2], [3, 4]])
LR = 0.001
CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def layer() -> Conv2d:
    """A convolution with the one filter W and no bias."""
    conv = Conv2d(1, 1, 2, bias=False, dtype=np.float64)
    conv.weight.value = W[None, None]
    return conv


def loss(w: np.ndarray) -> float:
    """A loss whose derivative by y is DY: L = sum of DY * y."""
    return float((DY * ops.conv2d(X[None, None], w[None, None])[0, 0]).sum())


def slope(cell: tuple[int, int], nudge: float = 1e-3) -> float:
    """How fast the loss rises with one weight, found by nudging it up and down."""
    step = np.zeros_like(W)
    step[cell] = nudge
    return (loss(W + step) - loss(W - step)) / (2 * nudge)


def blocks() -> Iterator[Block]:
    conv, x, dy = layer(), X[None, None], DY[None, None]
    y = ops.conv2d(x, conv.weight.value)

    yield Step("Forward: the filter slides over the image")
    yield Text("""
        Lay the 2x2 filter `w` on a 2x2 patch of the 3x3 image `x`, multiply the cells that lie on each other, and add up: one output.
        There are four places to lay it, so the output `y` is 2x2. The same four weights are used at all four places. This sliding is what a
        convolution layer does; its exact name is cross-correlation. `x[1,2]` is row 1, column 2, counted from 0; `y[0,1]` comes from the
        patch one column to the right of the one of `y[0,0]`:
    """)
    yield beside(x=X, w=W, y=y[0, 0])
    yield written_out(output_terms(conv, x, (0, 0, 0, 0)))

    yield Step("What comes back: dy, a number for each output")
    yield Text("""
        Training measures a loss L: one number that should become small. `dy`, `dw` and `dx` are short for the derivatives of L by each cell
        of `y`, `w` and `x`. Backpropagation goes from the loss towards the input and hands each layer its `dy`. There is no activation
        function here, so `dy` is the delta you know from fully connected layers (an activation function counts as a layer of its own, which
        multiplies by its own derivative).
    """)
    yield Text(f"""
        We choose the simplest loss: L = sum of {" + ".join(f"{signed(d)} * y[{i},{j}]" for (i, j), d in np.ndenumerate(DY))} = {loss(W):g}. (It may
        be negative; only its changes matter.) Its derivatives are the four factors. `dy[0,1]` = -2 says: raise `y[0,1]` by a little, and
        the loss falls by twice as much.
    """)
    yield beside(dy=DY)

    yield Step("The first gradient: dw, for the filter")
    yield Text("""
        In a fully connected layer, a weight's gradient is a product: what went into the weight, times the delta of what came out. That
        stays true here. But a filter's weight was used at four places, once for each output, so there are four such products, and a
        change of the weight acts through all four at once; the chain rule adds them up.
    """)
    dw = np.zeros_like(W)
    for kh, kw in CELLS:
        terms = weight_terms(conv, x, dy, (0, 0, kh, kw))
        dw[kh, kw] = terms.total
        yield written_out(terms)
    yield Text("""
        Which cells of `x` met which cells of `dy`? For `dw[0,0]` the upper left 2x2 patch of `x`, for `dw[0,1]` the patch one
        column to the right, and so on. So `dw` is `dy` sliding over `x`, just as the filter did: a cross-correlation of `x` with
        `dy`, at the places where all cells overlap ("valid"). It has the shape of the filter, 2x2: each weight has a gradient of its own.
    """)
    yield beside(x=X, dy=DY, dw=dw)
    yield same("the library's own function ops.conv2d_weight_grad gives these four sums", dw, ops.conv2d_weight_grad(x, dy, 2)[0, 0])
    yield Text("Try it: move one weight 0.001 up, then 0.001 down, and divide the difference of the two losses by 0.002.")
    slopes = [slope(cell) for cell in CELLS]
    yield table(
        tuple(f"w[{kh},{kw}]" for kh, kw in CELLS), tuple(f"{s:.4f}" for s in slopes), tuple(f"{dw[cell]:.4f}" for cell in CELLS),
        heads=("weight", "measured", "dw"),
    )  # fmt: skip
    yield same("dw is what nudging measures", dw.ravel(), slopes, 1e-6)
    yield Picture(
        "dw", "dw is dy sliding over x: outlined, the patch of x that dw[0,0] sees.",
        lambda figure: matrices(figure, ("x", X, CELLS), "slide", ("dy", DY, CELLS), "=", ("dw", dw, [(0, 0)])), (7, 2.5),
    )  # fmt: skip

    yield Step("The second gradient: dx, for the layer before")
    yield Text("""
        `x` need not be the image: it may be the output of another layer, which waits for its own `dy`, and that is the derivative of L by each
        cell of `x`. Again a cell acts on the loss through every output that it took part in, and through each by the weight that lay on it
        there. The corner `x[0,0]` took part in one output only, the centre `x[1,1]` in all four:
    """)
    dx = np.zeros_like(X)
    for ih, iw in np.ndindex(X.shape):
        terms = input_terms(conv, x, dy, (0, 0, ih, iw))
        dx[ih, iw] = terms.total
        yield written_out(terms)
    yield Text("""
        Nine sums, a 3x3 grid: the shape of `x`. The centre shows the pattern: `w[0,0]` meets `dy[1,1]`, `w[0,1]` meets `dy[1,0]`, and so on:
        opposite cells. Turn `w` by 180 degrees, and each weight lies on its partner in `dy`. So `dx` is the turned filter sliding over
        `dy`. A ring of zeros around `dy` gives the corners partners, too; one overlapping cell is enough for a place ("full" convolution).
    """)
    padded, turned = np.pad(DY, 1), W[::-1, ::-1]
    yield beside(**{"dy in zeros": padded, "w turned": turned, "dx": dx})
    yield same("these nine sums are what ops.conv2d_input_grad computes", dx, ops.conv2d_input_grad(dy, conv.weight.value, x.shape)[0, 0])
    yield same("and the sliding of the turned filter gives the same", dx, ops.conv2d(padded[None, None], turned[None, None].copy())[0, 0])
    yield Picture(
        "dx", "dx is the turned filter sliding over dy in a ring of zeros: outlined, what dx[0,0] sees.",
        lambda figure: matrices(figure, ("dy in zeros", padded, CELLS), "slide", ("w turned", turned, CELLS), "=", ("dx", dx, [(0, 0)])), (7.5, 2.9),
    )  # fmt: skip

    yield Step("Which of the two goes where")
    yield Text(f"""
        `dw` updates the filter: each weight moves against its own gradient, `w = w - lr * dw`. `dx` updates nothing: it is handed to the
        layer before, as that layer's `dy`. If `x` is the image itself, nobody needs `dx`.
        With a learning rate `lr` of {LR:g}:
    """)
    yield beside(**{"w": W, "lr * dw": LR * dw, "new w": W - LR * dw})

    yield Step("And the sum of the nine numbers?")
    wrong = dx.sum()
    right_loss, wrong_loss = loss(W - LR * dw), loss(W - LR * wrong)
    yield Text(f"""
        Adding up the 3x3 grid gives {wrong:g}. Let us do it, and subtract `lr` times {wrong:g} from each of the four weights. The grid says how the
        loss depends on the image, not on the filter, so nothing speaks for this step. The losses before and after one step of each kind:
    """)
    yield table(
        ("before", "after w - lr * dw", "after w - lr * (sum of dx)"), tuple(f"{value:.3f}" for value in (loss(W), right_loss, wrong_loss)),
        heads=("", "loss"),
    )  # fmt: skip
    yield Text(f"""
        The wrong step gave w = {", ".join(f"{v:.3f}" for v in (W - LR * wrong).ravel())}, and the loss
        {"fell" if wrong_loss < loss(W) else "rose"}; with other numbers it might have fallen, by chance. With the filter's own gradient it
        {"fell" if right_loss < loss(W) else "rose"}, as it always does if `lr` is small enough. And the wrong step moves all weights by the
        same amount: the differences between them would stay those of the start, for ever.
    """)


LESSON = Lesson(
    "two-gradients",
    "Two gradients: one for the filter, one for the layer before",
    "A 2x2 delta comes back to a 2x2 filter, and the full convolution gives a 3x3 grid. Is each value of the filter updated by a gradient of "
    "its own, or is the sum of those 9 numbers added to all of them?",
    "Each weight by its own. Two different gradients leave a convolution: dw has the shape of the filter (2x2) and updates it; dx has the shape "
    "of the input (3x3), is handed to the layer before, and never touches the filter.",
    blocks,
)
