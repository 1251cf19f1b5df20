"""A graph bound to a batch size: memory for all values, shared by those that never live at the same time, and the list of calls.

    values of a ResNet's block, step after step        memory
    x -> a -> b, then y = b + x                         x: 0   a: 1   b: 2   y: 1, as a is not read any more

A program is used by one thread at a time; a call copies the input in, makes all calls, and copies the output out.
"""

import math

import numpy as np

from fastconv import memory
from fastconv.inference.graph import Graph, Value
from fastconv.inference.steps import Call, Operand
from fastconv.kernels.compile import Launch, pool_address, team
from fastconv.ops import layout


def share(graph: Graph) -> tuple[dict[int, int], list[int]]:
    """Which memory each value lies in, and the elements for each image of every memory. The input's and the output's are whole from first to last."""
    last = {value.number: i for i, node in enumerate(graph.nodes) for value in node.inputs} | {graph.output.number: len(graph.nodes)}
    where, sizes, free = {0: 0}, [math.prod(graph.input.shape)], []
    for i, node in enumerate(graph.nodes):
        size = math.prod(node.output.shape)
        fitting = [n for n in free if sizes[n] >= size]
        if fitting:
            chosen = min(fitting, key=sizes.__getitem__)
        elif free:
            chosen = max(free, key=sizes.__getitem__)  # which becomes larger
            sizes[chosen] = size
        else:
            chosen = len(sizes)
            sizes.append(size)
        free = [n for n in free if n != chosen]
        where[node.output.number] = chosen
        ended = {value.number for value in (*node.inputs, node.output) if last.get(value.number, i) == i}
        free += [where[number] for number in ended]
    return where, sizes


class Program:
    """The calls for N images of a dtype. `program(x)` returns a new array."""

    def __init__(self, graph: Graph, N: int, dtype: np.dtype):
        where, sizes = share(graph)
        memories = [memory.empty((max(1, N * size),), dtype) for size in sizes]
        for array in memories:
            array.fill(0)  # the passes run once while they are bound: on numbers

        def operand(value: Value) -> Operand:
            lies = layout.activation((N, *value.shape), dtype)
            return Operand(lies, memories[where[value.number]][: lies.size])

        self.input, self.output = operand(graph.input), operand(graph.output)
        self.bytes = N * sum(sizes) * dtype.itemsize
        calls: list[Call] = []
        scratch: dict = {}
        with memory.own_scratch(scratch), team.hot():
            for node in graph.nodes:
                calls += node.step.bind([operand(value) for value in node.inputs], operand(node.output))
            self.alone, self.threaded = ([_with_pool(call, threads) for call in calls] for threads in (False, True))
        self.work = sum(call.work for call in calls if isinstance(call, Launch))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self._enter(x)
        team.launch(_walk, _walk_alone, self.work, (self,))
        y, flat = self.output.layout.empty()
        flat[:] = self.output.flat
        return y

    def _enter(self, x: np.ndarray) -> None:
        lies, flat = self.input
        last = x.transpose(lies.axes)
        if last.flags.c_contiguous and x.flags.aligned:
            flat[:] = last.reshape(-1)
        else:
            lies.copy(x, flat)


def _walk(program: Program) -> None:
    for function, operands in program.threaded:
        function(*operands)


def _walk_alone(program: Program) -> None:
    for function, operands in program.alone:
        function(*operands)


def _with_pool(call: Call, threads: bool) -> tuple:
    if isinstance(call, Launch):
        return call.bound.entry, (pool_address() if threads and call.work >= team.least else 0, *call.operands)
    return call
