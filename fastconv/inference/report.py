"""What a compiled model does, step by step."""

import math
from typing import NamedTuple

import numpy as np

from fastconv.inference.graph import Graph
from fastconv.inference.program import share
from fastconv.layers.summary import columns


class Row(NamedTuple):
    name: str  # of the layers that became this step
    layers: str
    algorithm: str
    output_shape: tuple[int, ...]
    bytes: int  # of the output


class Report(NamedTuple):
    """One row per step; `str()` is a table with the sums below it. bytes: of all memory for values, which share it where they can."""

    rows: tuple[Row, ...]
    bytes: int

    def __str__(self) -> str:
        head = ("name", "layers", "algorithm", "output", "KB")
        lines = [(row.name, row.layers, row.algorithm, str(row.output_shape), f"{row.bytes / 1e3:,.1f}") for row in self.rows]
        return columns(head, lines, ("in memory", "", "", "", f"{self.bytes / 1e3:,.1f}"), texts=4)


def report(graph: Graph, input_shape: tuple[int, ...], dtype: np.dtype) -> Report:
    N = input_shape[0]
    rows = []
    for step, _, output in graph.nodes:
        shape = (N, *output.shape)
        rows.append(Row(step.names, step.text, step.algorithm(max(1, N)), shape, math.prod(shape) * dtype.itemsize))
    return Report(tuple(rows), N * sum(share(graph)[1]) * dtype.itemsize)
