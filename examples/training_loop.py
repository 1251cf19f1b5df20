"""A training loop with nothing hidden: forward, loss, backward, step, on handwritten digits.

Layers here have no autograd. `forward` returns the output and a function that is the way back:

    y, backward = layer.forward(x)        the output, and a function that remembers what it needs
    dx = backward(dy)                     from the gradient of y to that of x; adds to the parameters' gradients on its way

A model is layers one after another, and its backward calls theirs in the opposite order: that is the chain rule.
`train.fit` (see train_digits.py) is this loop with a progress line, a learning-rate schedule and care for accidents.

    python examples/training_loop.py
"""

import numpy as np

import fastconv as fc
from fastconv import data, layers, losses, optim

fc.seed(0)  # the initial weights and the order of the images: the same numbers on every run
(x_train, y_train), (x_test, y_test) = data.digits()  # x: (N, 1, 8, 8) float32 in 0..1, y: (N,) the digits 0..9

model = layers.Sequential(
    layers.Conv2d(1, 16, 3, padding=1),  # (N, 1, 8, 8) -> (N, 16, 8, 8): 16 kernels of 3x3
    layers.ReLU(),
    layers.MaxPool2d(2),  # -> (N, 16, 4, 4): the strongest answer of each 2x2 window
    layers.Conv2d(16, 32, 3, padding=1),  # -> (N, 32, 4, 4): 32 kernels that see all 16 channels
    layers.ReLU(),
    layers.Flatten(),  # -> (N, 512)
    layers.Linear(512, 10),  # -> (N, 10): a score per digit
)
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
loss_before_training, _ = losses.cross_entropy(model(x_test), y_test)
print(f"before training: loss {loss_before_training:.3f}; guessing among ten digits costs log(10) = {np.log(10):.3f}")


def accuracy() -> float:
    """Calling a model infers: nothing is kept for a way back. The highest score is the answer."""
    return float((model(x_test).argmax(axis=1) == y_test).mean())


for epoch in range(1, 6):
    total = 0.0
    for x, y in data.Batches(x_train, y_train, 32):  # a new random order in each epoch
        optimizer.zero_grad()  # gradients add up; start from nothing
        scores, backward = model.forward(x)  # (32, 10), and the way back
        loss, d_scores = losses.cross_entropy(scores, y)  # a number, and its derivative by each score: (32, 10)
        backward(d_scores, input_grad=False)  # every parameter's .grad; nobody needs the gradient of the images
        optimizer.step()  # value -= lr * (the gradient, smoothed by momentum)
        total += loss * len(x)
    print(f"epoch {epoch}: loss {total / len(x_train):.3f}, test accuracy {100 * accuracy():.1f} %")

# What a gradient is: nudge one weight of the first layer, and the loss moves by gradient times nudge.
weight, nudge = model.parameters()[0], 1e-2
optimizer.zero_grad()
scores, backward = model.forward(x_test)
loss, d_scores = losses.cross_entropy(scores, y_test)
backward(d_scores)
slope = weight.grad[0, 0, 1, 1]  # copied before the weight changes
changed = weight.value.copy()
changed[0, 0, 1, 1] += nudge
weight.value = changed
moved = losses.cross_entropy(model(x_test), y_test)[0] - loss
print(f"nudging one weight by {nudge:g} moved the loss by {moved:+.6f}; its gradient foretold {slope * nudge:+.6f}")
