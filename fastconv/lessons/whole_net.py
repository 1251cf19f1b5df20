"""From the loss back into every filter: one whole step of training, station by station."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fastconv import data
from fastconv.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text, same, table
from fastconv.losses import cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES, SEED, LR = 32, 0, 0.1
BACK = {  # what each kind of layer makes of the gradient on its way back
    "Conv2d": "each input: sum of dy * the weight on it",
    "ReLU": "kept where the output was > 0",
    "MaxPool2d": "all to the largest of each square",
    "Flatten": "the same numbers, as maps again",
    "Linear": "dx = dy @ w",
}


def net() -> list[Layer]:
    """Two convolutions and a fully connected layer, in float64 so that checks are sharp."""
    rng, kind = np.random.default_rng(SEED), np.float64
    return [
        Conv2d(1, 4, 3, padding=1, dtype=kind, rng=rng), ReLU(), MaxPool2d(2),
        Conv2d(4, 8, 3, padding=1, dtype=kind, rng=rng), ReLU(),
        Flatten(), Linear(128, 10, dtype=kind, rng=rng),
    ]  # fmt: skip


def batch() -> tuple[np.ndarray, np.ndarray]:
    (x, y), _ = data.digits()
    return x[:IMAGES].astype(np.float64), y[:IMAGES]


def forward(layers: list[Layer], x: np.ndarray) -> tuple[list[np.ndarray], list]:
    """The activations, the input first and the scores last, and each layer's way back."""
    activations, ways_back = [x], []
    for layer in layers:
        y, backward = layer.forward(activations[-1])
        activations.append(y)
        ways_back.append(backward)
    return activations, ways_back


def backward(ways_back: list, d_scores: np.ndarray) -> list[np.ndarray]:
    """The gradients at the same stations, the input's first; each layer adds to its parameters' gradients on the way."""
    gradients = [d_scores]
    for way_back in reversed(ways_back):
        gradients.insert(0, way_back(gradients[0]))
    return gradients


def loss_of(layers: list[Layer], x: np.ndarray, y: np.ndarray) -> float:
    return cross_entropy(forward(layers, x)[0][-1], y)[0]


def kinds(layers: list[Layer]) -> list[str]:
    """The layers' names, numbered where there are several of a kind."""
    names = [type(layer).__name__ for layer in layers]
    return [f"{name} {names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def norm(a: np.ndarray) -> str:
    return f"{np.linalg.norm(a):.4f}"


def per_image(a: np.ndarray) -> str:
    return "x".join(map(str, a.shape[1:]))


def blocks() -> Iterator[Block]:
    layers = net()
    x, y = batch()
    names = kinds(layers)

    yield Step("Forward")
    yield Text(f"""
        A small net for handwritten digits. A convolution (Conv2d) lays a filter, 3x3 weights for each input map, on every place of the image,
        which has a ring of zeros around it so that there are as many places as pixels; it adds up the products and a bias: one number per
        place, one map per filter. ReLU turns negative values into 0. Max pooling keeps the largest of each 2x2 square. Flatten writes
        all maps in one line, and a fully connected layer (Linear) makes ten scores, one per digit. {IMAGES} images go through together. The
        table has the shape for one image (maps x rows x columns), and the norm for all {IMAGES}: the root of the sum of all squares.
    """)
    activations, ways_back = forward(layers, x)
    yield table(("image", *names), tuple(per_image(a) for a in activations), tuple(norm(a) for a in activations), heads=("station", "shape", "norm"))
    scores = activations[-1]
    before, d_scores = cross_entropy(scores, y)
    yield Text(f"""
        The loss compares the scores with the right digits. Softmax turns ten scores s into ten probabilities, p[k] = exp(s[k]) / (sum of all
        exp); the loss is -log of the probability of the right digit, averaged over the images: {before:.4f}. (Giving each digit 1/10
        would cost log 10 = {np.log(10):.4f}: the net has learned nothing yet.)
    """)

    yield Step("The first gradient: at the scores")
    yield Text(f"""
        Going back begins with the derivative of the loss with respect to each score. The loss of one image is log(sum of all exp) - s[right
        digit]. Its derivative by s[k] is p[k], minus 1 if k is the right digit; the average over the images divides it by {IMAGES}. The ten numbers
        of the first image: scores that should fall are positive, the one that should rise is negative.
    """)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    by_hand = (exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(10)[y]) / IMAGES
    yield Board(f"right digit: {y[0]}\n" + "  ".join(f"{value:+.4f}" for value in d_scores[0]))
    yield same("(probability - 1 for the right digit) / images is what losses.cross_entropy gives", by_hand, d_scores)

    yield Step("Back, station by station")
    yield Text("""
        Each layer takes `dy`, the gradient at its output, and returns `dx`, the gradient at its input, which is the output of the layer
        before. So the error walks from the scores to the image, each time in the shape of the activations: a gradient is one
        number for each of them. `zeros` is the share of exact zeros.
    """)
    gradients = backward(ways_back, d_scores)
    rows = list(
        zip(
            reversed(gradients), reversed(("image", *names)), reversed(("not needed for training", *(BACK[type(layer).__name__] for layer in layers)))
        )
    )
    yield table(
        tuple(name for _, name, _ in rows), tuple(per_image(g) for g, _, _ in rows), tuple(norm(g) for g, _, _ in rows),
        tuple(f"{100 * np.mean(g == 0):.0f} %" for g, _, _ in rows), tuple(back for _, _, back in rows),
        heads=("gradient at the output of", "shape", "norm", "zeros", "on its way to the layer's input"),
    )  # fmt: skip
    yield Text("""
        Between the fully connected layer and the last filters lie only Flatten and a ReLU. Flatten puts the 128 gradients back into
        8 maps of 4x4, in the order in which they were taken out; ReLU lets those pass where its output was positive. In a convolution each input
        gets, from every output that used it, that output's gradient times the weight that lay on it (topic input-gradient). Max pooling
        gives each gradient to the cell that was the largest, and 0 to the other three (topic max-pool).
    """)
    yield Picture("stations", "One image on its way: activations above, the gradients of the loss at the same stations below.",
                  lambda figure: draw(figure, names, activations, gradients), (9, 2.8))  # fmt: skip

    yield Step("Each layer's own weights")
    yield Text(f"""
        Layers with weights do one thing more: each combines `dy` with its own input `x` from the forward pass. With one row per image, a fully
        connected layer computes `dw = dy^T @ x`, here (10x{IMAGES}) @ ({IMAGES}x128) = 10x128. A convolution: `dw[m,k,i,j]`, the gradient of
        the weight in row i, column j of filter m's part for input map k, is the sum over all images and all places (r,c) of
        `dy[m,r,c] * x[k,r+i,c+j]`: what came back, times the input that lay under this weight (counted with the ring of zeros;
        topic shared-weights). A bias sums `dy`. So every weight of every filter gets one number. Filters have the shape (filters,
        input maps, rows, columns):
    """)
    weighted = [(name, layer) for name, layer in zip(names, layers) if layer.parameters()]
    parameters = [(f"{name} {part}", p) for name, layer in weighted for part, p in layer.named_parameters()]
    yield table(
        tuple(name for name, _ in parameters), tuple(str(p.shape) for _, p in parameters), tuple(f"{p.size:,}" for _, p in parameters),
        tuple(norm(p.value) for _, p in parameters), tuple(norm(p.grad) for _, p in parameters),
        heads=("parameter", "shape", "numbers", "norm", "norm of its gradient"),
    )  # fmt: skip

    filters = layers[0].weight
    kept = {p: (p.value.copy(), p.grad.copy()) for _, p in parameters}
    yield Text(
        "The centre of the very first filter, `w[0,0,1,1]`, nudged by 0.000001 up and down: does the loss at the far end move as its gradient says?"
    )
    nudge, ends = 1e-6, []  # small enough that no maximum changes its place in between
    for sign in (1, -1):
        nudged = kept[filters][0].copy()
        nudged[0, 0, 1, 1] += sign * nudge
        filters.value = nudged
        ends.append(loss_of(layers, x, y))
    filters.value = kept[filters][0]
    measured = (ends[0] - ends[1]) / (2 * nudge)
    yield Board(f"w[0,0,1,1]: measured {measured:.6f}, its gradient {filters.grad[0, 0, 1, 1]:.6f}")
    yield same("the gradient of the first filter's centre is what nudging measures", filters.grad[0, 0, 1, 1], measured, 1e-4)

    yield Step("The update")
    for p, (value, grad) in kept.items():
        p.value = value - LR * grad
    old, new = (array[0, 0] for array in (kept[filters][0], filters.value))
    yield Text(f"""
        Now each number of each layer takes a step against its gradient, all at once: `w = w - lr * dw`, with the learning rate {LR:g}. The first
        filter, before and after (its centre: {old[1, 1]:.6f} - {LR:g} * {kept[filters][1][0, 0, 1, 1]:.6f} = {new[1, 1]:.6f}):
    """)
    yield Board("\n".join("  ".join(f"{v:9.6f}" for v in a) + "   ->   " + "  ".join(f"{v:9.6f}" for v in b) for a, b in zip(old, new)))
    after = loss_of(layers, x, y)
    predicted = LR * sum(float((grad**2).sum()) for _, grad in kept.values())
    yield Text(f"""
        On the same {IMAGES} images the loss was {before:.4f} and is {after:.4f} now. Were the loss a straight line along this step, it would have
        fallen by lr times the sum of all squared gradients, {predicted:.4f}; it fell by {before - after:.4f}, because it is curved. That was one
        step of training. All others are the same, with other images.
    """)
    yield Text("A whole net in pure Python, without NumPy, with every loop written out: `examples/cnn_from_scratch.py`.")


def draw(figure: "Figure", names: list[str], activations: list[np.ndarray], gradients: list[np.ndarray]) -> None:
    from fastconv import plot

    maps = [i for i, a in enumerate(activations) if a.ndim == 4]
    axes = figure.subplots(2, len(maps))
    for column, i in enumerate(maps):
        plot.feature_maps(activations[i][0], axes[0, column])
        plot.filters(gradients[i][0][:, None], axes[1, column])
        axes[0, column].set_title(("image", *names)[i], fontsize=10)
    axes[0, 0].set_ylabel("activations")
    axes[1, 0].set_ylabel("gradients")


LESSON = Lesson(
    "whole-net",
    "From the loss back into every filter: one whole training step",
    "How does the error get from the fully connected layers at the end back into the filters, and how are these updated?",
    "Layer by layer: each takes the gradient at its output, computes from it the gradients of its own weights and the gradient at its input, and "
    "hands the latter to the layer before. Flatten only rearranges numbers. Then every weight of every layer steps against its own gradient.",
    blocks,
)
