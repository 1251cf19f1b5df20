"""What a model is made of, layer by layer, for inputs of a given shape; nothing is computed."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from fastconv.ops.operands import shape_tuple


class Row(NamedTuple):
    name: str
    layer: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int  # multiplications with an addition, of one forward pass
    bytes: int  # of the output
    algorithm: str  # of a convolution's passes


class Summary(NamedTuple):
    """One row per layer that has no layers inside; `str()` is a table with the sums below it. Parameters that layers share count once."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)

    def __str__(self) -> str:
        head = ("name", "layer", "algorithm", "output", "parameters", "MACs", "KB")
        lines = [(name, layer, by, str(shape), f"{p:,}", f"{macs:,}", f"{size / 1e3:,.1f}") for name, layer, shape, p, macs, size, by in self.rows]
        sums = ("", "", "", "", f"{self.parameters:,}", f"{self.macs:,}", f"{self.bytes / 1e3:,.1f}")
        return columns(head, lines, sums, texts=4)


def columns(head: tuple[str, ...], lines: list[tuple[str, ...]], sums: tuple[str, ...], texts: int) -> str:
    """A table; the first columns are text, all others numbers."""
    widths = [max(map(len, column)) for column in zip(head, *lines, sums)]
    shown = [
        "  ".join(cell.ljust(w) if i < texts else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))).rstrip()
        for line in (head, *lines, sums)
    ]
    rule = "-" * max(map(len, shown))
    return "\n".join([shown[0], rule, *shown[1:-1], rule, shown[-1]])


def summarize(model, input_shape: tuple[int, ...]) -> Summary:
    counted = set()

    def new(layer) -> int:
        fresh = [p for p in layer.parameters() if id(p) not in counted]
        counted.update(map(id, fresh))
        return sum(p.size for p in fresh)

    itemsize = next((p.dtype.itemsize for p in model.parameters()), 4)
    rows = []
    for name, layer, shape in leaves(model, shape_tuple("summary", "input_shape", input_shape)):
        output = layer.output_shape(shape)
        multiplies = hasattr(layer, "geometry") and hasattr(layer, "weight")  # pooling has a geometry too, and nothing to multiply
        macs = layer.geometry(shape).flops // 2 if multiplies else 0
        rows.append(Row(name, repr(layer), output, new(layer), macs, math.prod(output) * itemsize, layer.algorithms(shape)))
    return Summary(tuple(rows))


def leaves(layer, input_shape: tuple[int, ...], prefix: str = "") -> Iterator[tuple]:
    """(name, layer, its input's shape) of every layer without layers inside, in the order in which they run."""
    inner = list(layer.inner(input_shape))
    if not inner:
        yield prefix, layer, input_shape
    for name, child, shape in inner:
        yield from leaves(child, shape, f"{prefix}.{name}" if prefix else name)
