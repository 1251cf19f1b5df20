"""Each channel with mean 0 and standard deviation 1 over the training set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastconv.data.arrays import images_or_floats, scaled
from fastconv.geometry import array, shown
from fastconv.memory import spared

PIECE = 1024  # examples at a time: float64 copies of a piece, never of the whole set


@dataclass(frozen=True)
class Normalise:
    """`(x - mean) / std` per channel. `normalise = Normalise.of(x)`; `normalise(x_test)`; `Batches(x, y, 32, normalise=normalise)`.

    mean, std: one finite number per channel, std > 0; in the unit of x, which is 0..1 for uint8. Plain lists, so that `vars(normalise)` can be put in
    a JSON file and `Normalise(**stored)` reads it back with the same bits. ValueError, TypeError for other numbers.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"Normalise: mean and std must have one number per channel, got {len(self.mean)} and {len(self.std)}")
        if min(self.std) <= 0:
            raise ValueError(f"Normalise: std must be above 0, got {self.std}")

    @classmethod
    def of(cls, x) -> "Normalise":
        """The mean and standard deviation of each channel of x (N, C, ...), summed in float64. std is 1 where a channel is constant."""
        x = images_or_floats("Normalise.of", x)
        if x.ndim < 2 or not x.size:
            raise ValueError(f"Normalise.of: x must be (N, C, ...) with N >= 1, got {x.shape}")
        axes = (0, *range(2, x.ndim))
        count = x.size // x.shape[1]
        pieces = [x[start : start + PIECE] for start in range(0, len(x), PIECE)]
        mean = sum(scaled(piece).sum(axes, np.float64) for piece in pieces) / count
        pivot = mean.reshape(-1, *(1,) * (x.ndim - 2))
        # of differences from the mean: a mean of 1000 must not hurt
        std = np.sqrt(sum(np.square(scaled(piece) - pivot).sum(axes) for piece in pieces) / count)
        if not np.isfinite(mean + std).all():
            raise ValueError("Normalise.of: x holds NaN or Inf")
        constant = std <= 1e-12 * np.abs(mean)
        return cls(mean.tolist(), np.where(constant, 1.0, std).tolist())

    @spared
    def __call__(self, x) -> np.ndarray:
        """x (N, C, ...) normalised, in x's dtype, uint8 in float32; the same bits as in a batch."""
        x = scaled(images_or_floats("Normalise", x))
        self.check("Normalise", x.shape)
        mean, scale = (each.reshape(-1, *(1,) * (x.ndim - 2)) for each in self.mean_and_scale(x.dtype))
        return (x - mean) * scale

    def mean_and_scale(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """The mean and 1 / std, as a kernel wants them."""
        return np.array(self.mean, dtype), (1 / np.array(self.std)).astype(dtype)

    def check(self, op: str, shape: tuple[int, ...]) -> None:
        """ValueError where x's channels are not those of the numbers."""
        if len(shape) < 2 or shape[1] != len(self.mean):
            raise ValueError(f"{op}: normalise has {len(self.mean)} channels; got x{shape} as (N, C, ...)")


def _numbers(name: str, given: Sequence[float]) -> list[float]:
    numbers = array("Normalise", name, given)
    if numbers.dtype.kind not in "iuf" or numbers.ndim != 1:
        raise TypeError(f"Normalise: {name} must be a list of numbers, one per channel, got {shown(given)}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"Normalise: {name} must be finite, got {given}")
    return numbers.astype(np.float64).tolist()
