"""How does a gradient get back through max pooling: is it spread over the whole square?

No: only the largest cell moves the output, so it gets all of dy, and the others get 0. Even shares belong to
average pooling, where each cell of a 2x2 square really moves the output at a quarter of its own speed.

    python examples/max_pool.py
    python -m fastconv explain max-pool        the long version
"""

import numpy as np

from fastconv import ops

window = np.array([[2.0, 5], [8, 3]])
x = np.array([[2.0, 5, 1, 0], [8, 3, 4, 6], [7, 7, 0, 2], [1, 0, 9, 5]])
dy = np.array([[1.0, -2], [3, 0.5]])


def slopes(pool, x, up=1e-3, down=1e-3):
    """How fast pool(x) rises with each cell: nudge it up and down, and look."""
    rise = np.zeros_like(x)
    for cell in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[cell] = 1
        rise[cell] = (pool(x + up * nudge) - pool(x - down * nudge)) / (up + down)
    return rise


by_max, by_mean = slopes(np.max, window), slopes(np.mean, window)
print(f"a square\n{window}\nslopes of its maximum\n{by_max.round(4)}\nand of its mean\n{by_mean.round(4)}\n")

y, mask = np.zeros((2, 2)), np.zeros((4, 4))
for oh, ow in np.ndindex(y.shape):
    square = x[oh * 2 : oh * 2 + 2, ow * 2 : ow * 2 + 2]
    y[oh, ow] = square.max()
    kh, kw = np.unravel_index(square.argmax(), (2, 2))  # the first in reading order, if there are several
    mask[oh * 2 + kh, ow * 2 + kw] = 1
dx = np.where(mask == 1, np.kron(dy, np.ones((2, 2))), 0)  # each dy four times, kept where the mask is 1
print(f"x\n{x}\ny\n{y}\nmask\n{mask.astype(int)}\ndy\n{dy}\ndx\n{dx}\n")
tie = x[2:, :2]  # two cells are 7: there the maximum has a slope upwards and another downwards
rising, falling = slopes(np.max, tie, down=0), slopes(np.max, tie, up=0)
print(f"a tie\n{tie}\nslopes upwards\n{rising.round(4)}\nand downwards\n{falling.round(4)}\n")

paths = {}
for name in ("maximum only", "even shares"):  # loss (max - 4)**2 / 2, learning rate 0.25
    paths[name] = [window]
    for _ in range(12):
        free = paths[name][-1]
        share = free == free.max() if name == "maximum only" else 1 / 4
        paths[name].append(free - 0.25 * (free.max() - 4) * share)
    print(f"{name}, after 4 updates\n{paths[name][4].round(2)}\nafter 12\n{paths[name][12].round(2)}\n")

answer, argmax = ops.max_pool2d(x[None, None], 2)
for claim, one, other in (
    ("y, and ops.max_pool2d", y, answer),
    ("dx, and ops.max_pool2d_grad", dx, ops.max_pool2d_grad(dy[None, None], argmax, (1, 1, 4, 4), 2)),
):
    print(f"{claim}: largest difference {abs(one - other).max():.1g}")
