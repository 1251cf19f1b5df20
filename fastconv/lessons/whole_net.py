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
BACK = {  # what each kind of layer does to the gradient on its way back
    "Conv2d": "the turned filters slide over it",
    "ReLU": "kept where the output was > 0",
    "MaxPool2d": "all to the largest of each square",
    "Flatten": "the same numbers, as maps again",
    "Linear": "times the weights: dx = dy @ w",
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
        A small net for handwritten digits: two convolutions, ReLU (negative values become 0), max pooling (the largest of each 2x2 square), and a
        fully connected layer to ten scores, one per digit. {IMAGES} images go through together. At each station: the shape of what
        comes out for one image (channels x rows x columns), and its size as one number, the root of the sum of squares over all images (the norm).
    """)
    activations, ways_back = forward(layers, x)
    yield table(("image", *names), tuple(per_image(a) for a in activations), tuple(norm(a) for a in activations), heads=("station", "shape", "norm"))
    scores = activations[-1]
    before, d_scores = cross_entropy(scores, y)
    yield Text(f"""
        The loss compares the scores with the right digits. Softmax turns ten scores s into ten probabilities, p[k] = exp(s[k]) / (sum of all
        exp); the loss is -log of the probability of the right digit, averaged over the images: {before:.4f}. (Guessing blindly costs
        log 10 = {np.log(10):.4f}.)
    """)

    yield Step("The first gradient: at the scores")
    yield Text("""
        Going back begins with the derivative of the loss by each score. For softmax and -log it is simple: the probability, minus 1 for the
        right digit, divided by the number of images. For the first image, ten numbers: scores that should fall are positive, the one that should
        rise is negative.
    """)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    by_hand = (exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(10)[y]) / IMAGES
    yield Board(f"right digit: {y[0]}\n" + "  ".join(f"{value:+.4f}" for value in d_scores[0]))
    yield same("(probability - 1 for the right digit) / images is what losses.cross_entropy gives", by_hand, d_scores)

    yield Step("Back, station by station")
    yield Text("""
        Each layer takes the gradient at its output and returns the gradient at its input, which is the output of the layer before. So
        the error walks from the scores to the image. Shapes are those of the forward pass: a gradient is one number for each
        activation. Read this table upwards, from the last line to the first:
    """)
    gradients = backward(ways_back, d_scores)
    yield table(
        ("image", *names), tuple(per_image(g) for g in gradients), tuple(norm(g) for g in gradients),
        tuple(f"{100 * np.mean(g == 0):.0f} %" for g in gradients), ("", *(BACK[type(layer).__name__] for layer in layers)),
        heads=("gradient at", "shape", "norm", "zeros", "what this layer then does to it, going back"),
    )  # fmt: skip
    yield Text("""
        Between the fully connected part and the filters lies nothing but Flatten: the 128 gradients at the inputs of the last layer are put back
        into 8 maps of 4x4, in the order in which they were taken out. From there on it is as if these maps had been the end of the net. The
        gradient at the image itself is not needed for training; it says which pixels matter.
    """)
    yield Picture("stations", "One image on its way: activations above, the gradients of the loss at the same stations below.",
                  lambda figure: draw(figure, names, activations, gradients), (9, 2.8))  # fmt: skip

    yield Step("Each layer's own weights")
    yield Text("""
        On its way the gradient passes the layers that have weights. Each of them combines it with what had come in at the front: a fully
        connected layer multiplies, `dw = dy^T @ x`; a convolution slides, `dw` = the sum over all images and places of `x * dy` (topic
        shared-weights); a bias sums `dy`. Every weight of every filter gets one number:
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
    yield Text("One weight of the very first filter, nudged by 0.000001 up and down: does the loss at the far end move as its gradient says?")
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
    yield Text(f"""
        Now each number of each layer takes a step against its gradient, all at once: `w = w - lr * dw`, with the learning rate {LR:g}. The first
        filter, before and after:
    """)
    for p, (value, grad) in kept.items():
        p.value = value - LR * grad
    old, new = (array[0, 0] for array in (kept[filters][0], filters.value))
    yield Board("\n".join("  ".join(f"{v:7.4f}" for v in a) + "   ->   " + "  ".join(f"{v:7.4f}" for v in b) for a, b in zip(old, new)))
    after = loss_of(layers, x, y)
    predicted = LR * sum(float((grad**2).sum()) for _, grad in kept.values())
    yield Text(f"""
        The loss was {before:.4f} and is {after:.4f} now. To first order it should have fallen by lr times the squared norm of all
        gradients, {predicted:.4f}; it fell by {before - after:.4f}, since the step is not infinitely small. That was one step of training. All
        others are the same, with other images.
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
