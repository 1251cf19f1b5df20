"""Who may write an output. Between layers it is passed on as it is; what the caller of the outermost pass gets is made safe.

A ReLU keeps its output for the way back, a Flatten's output is its input's memory: changed in place, they would make gradients wrong, or
change the caller's batch. In training the outermost output is a read-only view, in inference the caller's own; no layer inside pays for it.
"""

import threading
from functools import wraps

import numpy as np

from fastconv.geometry import flag


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
        return (_read_only(y) if training else _own(y, x)), backward

    return whole


def outermost_call(call):
    """A layer's `__call__`, whose outermost output is the caller's own."""

    @wraps(call)
    def whole(self, x):
        if _pass.running:
            return call(self, x)
        try:
            _pass.running = True
            y = call(self, x)
        finally:
            _pass.running = False
        return _own(y, x)

    return whole


def _read_only(y):
    if isinstance(y, np.ndarray):
        y = y.view()
        y.setflags(False)  # positional, as quick as the view itself
    return y


def _own(y, x):
    arrays = isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
    return y.copy(order="K") if arrays and np.may_share_memory(x, y) else y
