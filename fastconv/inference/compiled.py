"""`fc.compile`: an inference-only copy of a model."""

import numpy as np

from fastconv.geometry import shown
from fastconv.inference.graph import Graph
from fastconv.inference.program import Program
from fastconv.inference.report import Report, report
from fastconv.kernels.compile import team
from fastconv.layers import Layer
from fastconv.ops.operands import FLOATS, floats, of_layer, shape_tuple

KEPT = 8  # batch sizes beside the first; then all of these are dropped
IDLE = 4  # programs of a batch size that wait, for as many threads at once


def compile(model: Layer, input_shape: tuple[int, ...]) -> "Compiled":
    """An inference-only copy of a trained model: `fast = fc.compile(model, (1, 3, 32, 32)); y = fast(x)` is `y = model(x)`, sooner.

    BatchNorm is folded into the convolution or Linear before it, ReLU into what is before it, weights are packed once, memory is planned once;
    Dropout and, before a Linear, Flatten are gone. Where a BatchNorm is folded and where a Linear follows a Flatten y differs from model(x) by
    rounding, else it has the same bits. Which algorithms run is chosen now (`fc.algorithm`). Later changes of the model do not reach the copy.

    input_shape: (N, C, ...), as `model.output_shape` takes it. The copy takes other N, too: the first call of each binds the passes anew.
    TypeError if the model is not a Layer, or its layers are of two dtypes; ValueError for a shape that does not fit.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"compile: model must be a Layer, got {shown(model)}")
    shape = shape_tuple("compile", "input_shape", input_shape)
    if not shape:
        raise ValueError("compile: input_shape must have at least 1 axis (N, ...), got ()")
    model.output_shape(shape)
    return Compiled(model, shape)


class Compiled:
    """What `fc.compile` returns. Any number of threads may call it at once; it keeps memory for its values from call to call."""

    def __init__(self, model: Layer, input_shape: tuple[int, ...]):
        self.dtype = _dtype(model)
        self._model = type(model).__name__
        self._graph = Graph(model, (max(1, input_shape[0]), *input_shape[1:]))
        self._programs: dict[tuple, list[Program]] = {}
        self.input_shape, self.output_shape = input_shape, (input_shape[0], *self._graph.output.shape)
        if input_shape[0]:
            dtype = self.dtype or FLOATS[0]
            program = self._bind(input_shape[0], dtype)
            self._shelf(input_shape[0], dtype).append(program)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """y, a new array, for x of the input shape, or of another N."""
        if type(x) is not np.ndarray or x.dtype is not self.dtype:
            x = self._checked(x)
        if x.shape[1:] != self.input_shape[1:] or not x.ndim:
            raise ValueError(
                f"compiled {self._model}: x is {x.shape}, but it was compiled for {self.input_shape}; only N, the first axis, may differ"
            )
        N = x.shape[0]
        if not N:
            return np.empty((0, *self._graph.output.shape), x.dtype)
        shelf = self._shelf(N, x.dtype)
        try:
            program = shelf.pop()  # atomic: two threads never have the same
        except IndexError:
            program = self._bind(N, x.dtype)
        try:
            return program(x)
        finally:
            if len(shelf) < IDLE:
                shelf.append(program)

    def _shelf(self, N: int, dtype: np.dtype) -> list[Program]:
        """The programs that wait for so many images, made for the threads that there are now."""
        key = N, dtype, team.size, team.least
        shelf = self._programs.get(key)
        if shelf is None:
            if len(self._programs) > KEPT:
                self._programs = {k: v for k, v in self._programs.items() if k[0] == self.input_shape[0] and k[2:] == key[2:]}
            shelf = self._programs.setdefault(key, [])
        return shelf

    def _bind(self, N: int, dtype: np.dtype) -> Program:
        while True:
            before = team.size, team.least
            program = Program(self._graph, N, dtype)
            if before == (team.size, team.least):  # else the first launch of this process has told what threads cost
                return program

    def _checked(self, x) -> np.ndarray:
        op = f"compiled {self._model}"
        if self.dtype is not None:
            of_layer(op, x, self.dtype)
        return floats(op, x=x)[0]

    def summary(self) -> Report:
        """The steps in turn: the layers that each was made of, the algorithm, output shape and bytes; print it."""
        return report(self._graph, self.input_shape, self.dtype or FLOATS[0])

    def forward(self, x, training: bool = True):
        raise RuntimeError(f"compiled {self._model}: it only infers, write y = compiled(x); train the model itself, then compile it again")

    def parameters(self):
        raise RuntimeError(f"compiled {self._model}: it has no parameters to train; train the model itself, then compile it again")

    def state_dict(self):
        raise RuntimeError(f"compiled {self._model}: its weights are folded and packed; save the model itself")

    load_state_dict = forward

    def __reduce_ex__(self, protocol):
        raise TypeError(f"compiled {self._model}: it can be neither copied nor pickled; save the model itself, and compile it again")

    def __repr__(self) -> str:
        return f"<compiled {self._model}: {self.input_shape} -> {self.output_shape}, {len(self._graph.nodes)} steps>"


def _dtype(model: Layer) -> np.dtype | None:
    """That of the parameters and running statistics; None where there are none."""
    found = list(dict.fromkeys(entry.value.dtype for _, entry in model._state() if entry.value.dtype in FLOATS))
    if len(found) > 1:
        raise TypeError(f"compile: the layers of the model must be of one dtype, got {' and '.join(map(str, found))}")
    return found[0] if found else None
