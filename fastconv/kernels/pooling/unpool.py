"""Max unpooling and its gradient, one element after the other: each value goes to the pixel that an index names.

    y[n, indices[n, p, c], c] = x[n, p, c], the last of several, else 0          dx[n, p, c] = dy[n, indices[n, p, c], c]

An item owns an image of what is written.
"""

from typing import NamedTuple

from fastconv.kernels.compile import Record, chunks, driver, serial, spread


class Images(NamedTuple):
    """N images of C channels; pixels of the smaller side, which the indices have, and of the larger one, to which they point."""

    N: int
    C: int
    few: int
    many: int


@driver
def unpool(pool, plan, chunks, x, indices, y):
    """The pass. x, indices: (N, pixels, C), y: (N, pixels, C), flat. It needs no scratch memory: y is passed instead."""
    spread(pool, chunks, plan.N, unpool_images, y, plan, x, indices, y)


@serial
def unpool_images(work, plan, x, indices, y):
    few, many = plan.few * plan.C, plan.many * plan.C
    y[work.first * many : work.stop * many] = 0
    for n in range(work.first, work.stop):
        for p in range(plan.few):
            for c in range(plan.C):
                i = n * few + p * plan.C + c
                y[n * many + indices[i] * plan.C + c] = x[i]


@driver
def unpool_grad(pool, plan, chunks, dy, indices, dx):
    spread(pool, chunks, plan.N, gather_images, dx, plan, dy, indices, dx)


@serial
def gather_images(work, plan, dy, indices, dx):
    few, many = plan.few * plan.C, plan.many * plan.C
    for n in range(work.first, work.stop):
        for p in range(plan.few):
            for c in range(plan.C):
                i = n * few + p * plan.C + c
                dx[i] = dy[n * many + indices[i] * plan.C + c]


class Unpool:
    """The pass bound to its extents: `run(x, indices, y)`, flat."""

    driver = unpool

    def __init__(self, plan: Images):
        self.items, self.work = plan.N, plan.N * plan.C * (plan.few + plan.many)
        self.plan, self.run = Record(plan), self.driver.bind()

    def __call__(self, *arrays) -> None:
        self.run(self.work, self.plan, chunks(self.items, self.work), *arrays)


class UnpoolGrad(Unpool):
    """The gradient: `run(dy, indices, dx)`, flat."""

    driver = unpool_grad
