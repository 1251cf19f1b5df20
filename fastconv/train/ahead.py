"""Before a first step kernels are compiled, for seconds. Where there is a second core, a second process helps: from the last kernel to the first.

    this process    forward: conv, pool, ...              finds the rest on disk
    the helper      -> model, shape of x       backward: ..., pool, conv         stores each; stops when both have met, or with this process

The helper goes through the step without running anything (`foreseeing`), which tells in milliseconds what will be compiled. A model that it cannot
read, of classes that a script itself defines, is compiled here alone. First steps on two cores of a Zen 3, by one process and by two: LeNet-5 26
and 15 s, ResNet-20 30 and 21.
"""

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from fastconv.kernels.compile import foreseeing, get_num_threads
from fastconv.kernels.compile.cache import folder, on_compile
from fastconv.kernels.selfcheck import vectors_work
from fastconv.layers import Layer

LEAST = 3  # kernels that are compiled before a helper is worth its start, a second and a half of a core


class helped:
    """`with helped(...)`: a forward and a backward pass; if they begin to compile kernels, they get a helper, once a process. None on one thread.

    A class, as every step comes by here: it takes 0.8 us, a generator 3.5.
    """

    __slots__ = ("compiled", "step")

    def __init__(self, model: Layer, x, y, loss_function: Callable):
        self.step, self.compiled = (model, x, y, loss_function), 0

    def __enter__(self) -> None:
        if not helpers:
            on_compile.append(self)

    def __exit__(self, *error) -> None:
        if self in on_compile:
            on_compile.remove(self)

    def __call__(self, name: str) -> None:
        """A kernel is about to be compiled."""
        self.compiled += 1
        if self.compiled == LEAST:
            _start(*self.step)


helpers: list[subprocess.Popen] = []


def _start(model: Layer, x, y, loss_function: Callable) -> None:
    if helpers or get_num_threads() == 1 or folder() is None or not sys.executable or getattr(sys, "frozen", False):
        return
    try:
        task = pickle.dumps((model, np.shape(x), np.asarray(x).dtype, y, loss_function))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "FASTCONV_QUIET": "1"}
        command = [sys.executable, "-c", f"from {__name__} import help_out; help_out()"]
        helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    except Exception:  # no such process, or a model that cannot be pickled: it only would have been faster
        return
    helpers.append(helper)
    atexit.register(_stop, helper)
    threading.Thread(target=helper.communicate, args=(task,), daemon=True).start()  # a large model does not fit into the pipe at once


def _stop(helper: subprocess.Popen) -> None:
    helper.kill()
    helper.wait()


def help_out() -> None:
    """The helper: compiles what a step takes that stands on stdin, its last pass first."""
    model, shape, dtype, y, loss_function = pickle.load(sys.stdin.buffer)
    vectors_work()
    with foreseeing() as notes, np.errstate(all="ignore"):
        outputs, backward = model.forward(np.zeros(shape, dtype), training=True)
        with suppress(Exception):  # it may look at what its kernel has not computed
            loss_function(outputs, y)
        backward(np.zeros(outputs.shape, outputs.dtype), input_grad=False)
    for launch in reversed(notes.launches):
        launch.bound.prepare(launch.operands)
