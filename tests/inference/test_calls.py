"""Calls of a compiled model from several threads, and those that it refuses."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from settled import draw, settled

import fastconv as fc
from fastconv import layers, models


def test_threads_that_call_one_copy_at_once_do_not_meet():
    model = settled(models.resnet8(3, 8))
    fast, inputs = fc.compile(model, (1, 3, 8, 8)), [draw((1 + i % 3, 3, 8, 8)) * (1 + i) for i in range(6)]
    expected = [fast(x) for x in inputs]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(20):
            for found, y in zip(pool.map(fast, inputs), expected):
                np.testing.assert_array_equal(found, y)


MEET = threading.Barrier(2)


class Meet(layers.Layer):
    """Two threads are inside at once."""

    def forward(self, x, training=True):
        MEET.wait(20)
        return x, None

    def output_shape(self, input_shape):
        return input_shape


def test_threads_that_are_inside_at_once_have_memory_of_their_own():
    fast = fc.compile(layers.Sequential(layers.ReLU(), Meet(), layers.ReLU()), (1, 3))
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            ones, twos = pool.map(fast, (np.full((1, 3), value, np.float32) for value in (1, 2)))
            assert (ones.tolist(), twos.tolist()) == ([[1, 1, 1]], [[2, 2, 2]])


def test_what_is_kept_is_bounded():
    fast = fc.compile(layers.ReLU(), (1, 3))
    for N in range(1, 60):
        assert fast(draw((N, 3))).shape == (N, 3)
    assert sum(map(len, fast._programs.values())) <= 10
    assert fast(draw((1, 3), np.float64)).dtype == np.float64  # without weights it is of no dtype


class Odd(layers.Layer):
    """Says what it likes about shapes."""

    def __init__(self, answer, shape):
        self.answer, self.shape = answer, shape

    def forward(self, x, training=True):
        return self.answer, None

    def output_shape(self, input_shape):
        return self.shape


def test_errors_tell_what_is_wrong():
    model, shape = models.lenet5(), (1, 1, 28, 28)
    with pytest.raises(TypeError, match=r"compile: model must be a Layer, got <function"):
        fc.compile(models.lenet5, shape)
    with pytest.raises(TypeError, match="compile: input_shape must be a shape"):
        fc.compile(model, draw(shape))
    with pytest.raises(ValueError, match="compile: input_shape must have at least 1 axis"):
        fc.compile(layers.ReLU(), ())
    with pytest.raises(ValueError, match="x has IC=3"):
        fc.compile(model, (1, 3, 28, 28))
    mixed = layers.Sequential(layers.Linear(3, 3), layers.Linear(3, 3, dtype=np.float64))
    with pytest.raises(TypeError, match="compile: the layers of the model must be of one dtype, got float32 and float64"):
        fc.compile(mixed, (1, 3))
    with pytest.raises(ValueError, match=r"compile: Odd\(\) makes \(6, 3\) of \(2, 3\); the first axis must stay the batch's"):
        fc.compile(Odd(None, (6, 3)), (2, 3))
    fast = fc.compile(model, shape)
    with pytest.raises(ValueError, match=r"compiled Sequential: x is \(1, 1, 27, 28\), but it was compiled for \(1, 1, 28, 28\); only N"):
        fast(draw((1, 1, 27, 28)))
    with pytest.raises(ValueError, match=r"compiled Sequential: x is \(\), but"):
        fast(np.float32(3))
    with pytest.raises(TypeError, match=r"compiled Sequential: the layer is float32, x is float64: write x.astype\(np.float32\)"):
        fast(draw(shape, np.float64))
    with pytest.raises(TypeError, match="compiled Sequential: x is a tuple of 2"):
        fast((draw(shape), None))
    for call, message in (
        (lambda: fast.forward(draw(shape)), "it only infers"),
        (fast.parameters, "it has no parameters to train"),
        (fast.state_dict, "its weights are folded and packed"),
        (lambda: fast.load_state_dict({}), "it only infers"),
    ):
        with pytest.raises(RuntimeError, match=f"compiled Sequential: {message}"):
            call()
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="compiled Sequential: it can be neither copied nor pickled"):
            copied(fast)


def test_a_layer_that_breaks_its_word_is_named_and_the_next_call_is_right():
    odd = Odd(np.zeros((2, 4), np.float32), (2, 3))
    fast = fc.compile(layers.Sequential(layers.ReLU(), odd), (2, 3))
    with pytest.raises(ValueError, match=r"Odd\(\): gives float32\(2, 4\) for x\(2, 3\), but its output_shape says \(2, 3\)"):
        fast(draw((2, 3)))
    (step,) = (node.step for node in fast._graph.nodes[1:])
    step.layer.answer = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(fast(draw((2, 3))), 1)
