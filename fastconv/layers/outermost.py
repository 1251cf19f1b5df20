"""Who may write an output. Between layers it is passed on as it is; what the caller of the outermost pass gets is made safe.

A ReLU keeps its output for the way back, a Flatten's output is its input's memory: changed in place, they would make gradients wrong, or
change the caller's batch. In training the outermost output is a read-only view, in inference the caller's own; no layer inside pays for it.
"""

import threading
from functools import wraps

import numpy as np

from fastconv.geometry import flag
from fastconv.layers.recorded import Recorded


class _Pass(threading.local):
    """Whether this thread is inside a pass."""

    running = False


_pass = _Pass()


def outermost_forward(forward):
    """A layer's `forward`, whose outermost output is safe."""

    @wraps(forward)
    def whole(self, x, training=True, *more, **words):
        if _pass.running:
            return forward(self, x, training, *more, **words)
        if training is not True and training is not False:
            flag(type(self).__name__, "training", training)
        if "relu" in words:
            flag(type(self).__name__, "relu", words["relu"])
        try:
            _pass.running = True
            y, backward = forward(self, x, training, *more, **words)
        finally:
            _pass.running = False
        return (_read_only(y) if training else _own(y, x if isinstance(x, tuple) else (x,))), backward

    return whole


def outermost_call(call):
    """A layer's `__call__`, whose outermost output is the caller's own."""

    @wraps(call)
    def whole(self, x, *more, **words):
        if isinstance(x, Recorded):
            return self.recorded(x, *more, **words)
        if _pass.running:
            return call(self, x, *more, **words)
        try:
            _pass.running = True
            y = call(self, x, *more, **words)
        finally:
            _pass.running = False
        return _own(y, (x, *more))

    return whole


def _read_only(y):
    if isinstance(y, np.ndarray):
        y = y.view()
        y.setflags(False)  # positional, as quick as the view itself
    return tuple(map(_read_only, y)) if isinstance(y, tuple) else y


def _own(y, inputs: tuple):
    if isinstance(y, tuple):
        return tuple(_own(each, (*inputs, *y[:i])) for i, each in enumerate(y))
    shared = isinstance(y, np.ndarray) and any(isinstance(x, np.ndarray) and np.may_share_memory(x, y) for x in inputs)
    return y.copy(order="K") if shared else y
