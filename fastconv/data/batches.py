"""Shuffled batches of a data set, in which no pass shows an image as another did: moved, mirrored, with noise."""

from collections.abc import Callable, Iterator
from functools import cache
from statistics import NormalDist

import numpy as np

from fastconv import memory, streams
from fastconv.data.arrays import images_or_floats, scaled
from fastconv.data.normalise import Normalise
from fastconv.geometry import array, described, flag, function, instance, integer, real
from fastconv.kernels.elementwise.batches import PLAN, QUANTILES, take_changed
from fastconv.ops.operands import dense
from fastconv.reflexes import answered


class Batches:
    """Iterate over (x, y) once: `for x_batch, y_batch in Batches(x, y, 32): ...`; each iteration is a new order.

    x: (N, C, H, W) images, or any (N, C, ...) floats if shift and flip are 0; of uint8 each batch is made float32 in 0..1, x / 255. y: (N, ...).
    shuffle: a random order from `stream` (None: the stream of `fastconv.seed`). The last batch may be smaller. In each pass each image is, in this
    order,

    changed       by `transform`, a function of a batch of images (n, C, H, W) that returns as many, perhaps of another size;
    mirrored      left to right with probability `flip`, 0 to 1;
    moved         by up to `shift` pixels in each direction, zeros move in: a random crop of the image with a border of `shift` zeros;
    made noisy    by normal numbers of standard deviation `noise` >= 0, in the unit of x;
    normalised    by `normalise`, a `Normalise`.

    The same stream gives the same bits on any number of threads and for any batch size, as far as `transform` does. ValueError, TypeError for other
    arguments.
    """

    @answered("Batches")
    def __init__(
        self, x, y, batch_size: int, *, shuffle: bool = True, shift: int = 0, flip: float = 0, noise: float = 0,
        normalise: Normalise | None = None, transform: Callable[[np.ndarray], np.ndarray] | None = None, stream: streams.Stream | None = None,
    ):  # fmt: skip
        x = images_or_floats("Batches", x)
        self.y = array("Batches", "y", y)
        self.batch_size = integer("Batches", "batch_size", batch_size, 1)
        self.shift = integer("Batches", "shift", shift, 0)
        self.flip = _level("flip", flip, most=1)
        self.noise = _level("noise", noise, most=float(np.finfo(np.float32).max))
        if x.ndim < 2 or not self.y.ndim or len(x) != len(self.y) or not len(x):
            raise ValueError(f"Batches: x and y must have the same length N >= 1, got x{x.shape}, y{self.y.shape}")
        for name, wanted in (("shift", self.shift), ("flip", self.flip)):
            if wanted and x.ndim != 4:
                raise ValueError(f"Batches: {name} needs images (N, C, H, W), got x{x.shape}")
        if normalise is not None:
            if not isinstance(normalise, Normalise):
                raise TypeError(f"Batches: normalise must be a data.Normalise, got {described(normalise)}")
            normalise.check("Batches", x.shape)
        if transform is not None:
            function("Batches", "transform", transform, "a function of images (n, C, H, W)")
        self.normalise, self.transform = normalise, transform
        self.shape = x.shape
        self.shuffle = flag("Batches", "shuffle", shuffle)
        if stream is not None:
            instance("Batches", "stream", stream, streams.Stream, "a streams.Stream, such as streams.Stream(5), or None")
        self.stream = stream or streams.default.fork()
        self._pixels, self._last_shape = _channels_last(x)
        self.from_uint8 = x.dtype == np.uint8
        self.dtype = np.dtype(np.float32) if self.from_uint8 else x.dtype
        self._changes = any((self.shift, self.flip, self.noise, self.normalise))
        none = np.empty(0, self.dtype)
        self._mean_and_scale = normalise.mean_and_scale(self.dtype) if normalise else (none, none)
        self._noise_table = (quarter_normals() * self.noise).astype(self.dtype) if self.noise else none

    def __len__(self) -> int:
        """Batches per iteration."""
        return -(-self.shape[0] // self.batch_size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order, plans = self._plan(self.stream.generator())
        for start in range(0, len(order), self.batch_size):
            chosen, plan = order[start : start + self.batch_size], plans[start : start + self.batch_size]
            pixels, places, last_shape = self._pixels, chosen, self._last_shape
            if self.transform is not None or self.from_uint8:
                pixels, last_shape = _channels_last(self._transformed(scaled(_channels_first(pixels[chosen], last_shape))))
                places = np.arange(len(chosen))
            batch = memory.empty((len(chosen), *pixels.shape[1:]), self.dtype)
            if self._changes:
                take_changed(pixels, places, plan, self._noise_table, self._mean_and_scale, batch)
            else:
                np.take(pixels, places, 0, batch, "clip")  # all are there, and "raise" would make another copy
            yield _channels_first(batch, last_shape), self.y[chosen]

    def _transformed(self, x: np.ndarray) -> np.ndarray:
        """What `transform` makes of images, in their dtype. TypeError, ValueError where that is not as many images."""
        if self.transform is None:
            return x
        changed = array("Batches", "the result of transform", self.transform(x))
        if changed.dtype.kind != "f":
            raise TypeError(
                f"Batches: transform must return images of {x.dtype}, got {described(changed.item()) if not changed.ndim else changed.dtype}"
            )
        if changed.ndim != x.ndim or len(changed) != len(x) or not changed.size:
            raise ValueError(f"Batches: transform must return as many images as it is given, {x.shape}, got {changed.shape}")
        if self.normalise is not None:
            self.normalise.check("Batches", changed.shape)
        return changed.astype(self.dtype, copy=False)

    def _plan(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which image comes when in a pass, and what happens to it. Nothing is drawn for what is not wanted."""
        N = self.shape[0]
        order = random.permutation(N) if self.shuffle else np.arange(N)
        plans = np.zeros(N, PLAN)
        if self.shift:
            plans["down"], plans["right"] = random.integers(-self.shift, self.shift + 1, (N, 2)).T
        if self.flip:
            plans["mirror"] = random.random(N) < self.flip
        if self.noise:
            plans["key"] = random.integers(0, 2**64, N, np.uint64)
        return order, plans

    def __repr__(self) -> str:
        words = {"shift": self.shift, "flip": self.flip, "noise": self.noise, "normalise": self.normalise, "transform": self.transform}
        names = {name: getattr(value, "__name__", value) for name, value in words.items() if value}
        wanted = ", uint8 / 255" * self.from_uint8 + "".join(f", {name}={value}" for name, value in names.items())
        return f"Batches({self.shape[0]} examples of {self.shape[1:]}, {self.batch_size} at a time{wanted})"


def _channels_last(x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """(N, C, ...) as dense (N, H, W, C), and the shape (..., C) of one."""
    last = dense(np.moveaxis(x, 1, -1))
    return last if x.ndim == 4 else last.reshape(len(x), 1, -1, x.shape[1]), last.shape[1:]


def _channels_first(pixels: np.ndarray, last_shape: tuple[int, ...]) -> np.ndarray:
    """The other way round."""
    return pixels.reshape(len(pixels), *last_shape).transpose(0, len(last_shape), *range(1, len(last_shape)))  # moveaxis would take 8 us more


@cache
def quarter_normals() -> np.ndarray:
    """QUANTILES numbers, the quantiles of a normal distribution scaled to variance 1/4: the sum of four has variance 1."""
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / QUANTILES) for i in range(QUANTILES)])
    return quantiles / (2 * quantiles.std())


def _level(name: str, value: float, most: float) -> float:
    level = real("Batches", name, value)
    if not 0 <= level <= most:
        raise ValueError(f"Batches: {name} must be between 0 and {most:.2g}, got {value}")
    return level
