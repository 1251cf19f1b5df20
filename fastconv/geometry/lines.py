"""A convolution as regular passes: outputs on a grid, each the same sum of shifted inputs.

The forward pass is one pass. The input gradient with stride S is S passes along each axis, one for each phase ih % SH: inputs of one
phase are reached through the same taps, so no zeros need to be inserted between the outputs.
"""

from typing import NamedTuple


class Line(NamedTuple):
    """One axis of a pass: target j lies at first + j * step, and reads source cell j * stride + shift through each tap.

    The shifts rise; taps are the kernel's cells in the same order. No taps: the target is 0 there.
    """

    count: int
    first: int
    step: int
    stride: int
    shifts: tuple[int, ...]
    taps: tuple[int, ...]

    @property
    def lowest(self) -> int:
        return self.shifts[0] if self.shifts else 0

    @property
    def span(self) -> int:
        """Source cells from the lowest shift to the highest."""
        return self.shifts[-1] - self.shifts[0] if self.shifts else 0

    def stays_inside(self, extent: int) -> bool:
        """Whether every tap of every target reads a cell of the source, none the padding."""
        return bool(self.shifts) and self.lowest >= 0 and (self.count - 1) * self.stride + self.shifts[-1] < extent


def forward_lines(I: int, O: int, K: int, S: int, P: int, D: int) -> tuple[Line, ...]:
    """Output oh reads ih = oh * SH - PH + kh * DH."""
    return (Line(O, 0, 1, S, tuple(k * D - P for k in range(K)), tuple(range(K))),)


def backward_lines(I: int, O: int, K: int, S: int, P: int, D: int) -> tuple[Line, ...]:
    """Input ih = r + j * SH of phase r was read by oh = j + (r + PH - kh * DH) / SH, through each tap that leaves no rest.

    With rising shifts the taps fall: the flip.
    """
    lines = []
    for r in range(min(S, I)):
        taps = tuple(k for k in reversed(range(K)) if (r + P - k * D) % S == 0)
        lines.append(Line(-(-(I - r) // S), r, S, 1, tuple((r + P - k * D) // S for k in taps), taps))
    return tuple(lines)
