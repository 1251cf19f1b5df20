"""Nothing that a caller can pass makes a kernel touch memory that is not its own.

Every array ends directly before a forbidden page, or starts directly behind one. A kernel that reads or writes there kills its process, so
the geometries run in another one: this file as a script, which says what it will run before it does.
"""

import ctypes
import math
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import geometries
import numpy as np
import pytest
from geometries import CONVOLUTIONS, DTYPES, POOLINGS, Convolution, Pooling, integers
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from laws import assert_whole
from numba import types
from strategies import convolutions, poolings

import fastconv as fc
from fastconv import data, layers, losses, memory, ops, optim
from fastconv.kernels import table
from fastconv.kernels.compile import Record, team
from fastconv.kernels.igemm.plan import Limits
from fastconv.ops import layout, passes

RANDOM = int(os.environ.get("FASTCONV_GEOMETRIES", "8"))  # how many; thousands where kernels or tables are new
SMALL = {
    "PIXELS": 12,
    "WEIGHT_PIXELS": 12,
    "PATCH": 600,
    "BLOCK_PIXELS": 12,
    "BLOCK_PATCH": 600,
    "ITEM_FLOPS": 1,
    "BLOCK": 72,
    "SLICE": 16,
    "PART": 16,
    "PART_OF_FEW": 16,
    "CHUNK_TILES": 2,
    "BAND": 1,
    "REACHES": 0,
}  # of an item: a small image is many
posix = pytest.mark.skipif(os.name != "posix", reason="mprotect is POSIX's")
edges = pytest.mark.parametrize("edge", ["end", "start"])


class Fence:
    """Gives arrays whose end, or start, is the edge of a forbidden page."""

    def __init__(self, edge: str):
        self.edge, self.system = edge, ctypes.CDLL(None, use_errno=True)

    def empty(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        """In the place of `memory.empty`; floats are NaN, so that what nobody has written shows."""
        dtype = np.dtype(dtype)
        size, page = math.prod(shape) * dtype.itemsize, mmap.PAGESIZE
        end = page + -(-size // page) * page
        pages = mmap.mmap(-1, end + page)
        address = np.frombuffer(pages, np.uint8).ctypes.data
        for forbidden in (address, address + end):
            if self.system.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0):  # PROT_NONE
                raise OSError(ctypes.get_errno(), "mprotect")
        array = np.ndarray(shape, dtype, pages, end - size if self.edge == "end" else page)
        if dtype.kind == "f":
            array.fill(np.nan)
        return array

    def flat(self, count: int, dtype, use: str = "") -> np.ndarray:
        """In the place of `memory.flat` and `memory.scratch`."""
        return self.empty((count,), dtype)

    def copy(self, a: np.ndarray) -> np.ndarray:
        copy = self.empty(a.shape, a.dtype)
        copy[...] = a
        return copy

    def record(self, record: Record) -> Record:
        """The same numbers and tables, each table and the row of words in a copy of its own."""
        copy, kept = Record.__new__(Record), iter(record.kept)
        words, copy.kept, copy._numba_type_ = self.copy(record.words), [], record._numba_type_
        for word, kind in record._numba_type_.fields.values():
            if isinstance(kind, types.Array):
                copy.kept.append(self.copy(next(kept)))
                words[word] = copy.kept[-1].__array_interface__["data"][0]
            elif isinstance(kind, type(record._numba_type_)):
                copy.kept.append(self.record(next(kept)))
                words[word] = copy.kept[-1].address
        copy.words, copy.address = words, words.__array_interface__["data"][0]
        return copy

    def launch(self, threaded: Callable, alone: Callable, work: float, operands: tuple) -> None:
        """In the place of `team.launch`: the pass on copies of all its arrays, also those in tuples and records."""
        arrays: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

        def fenced(operand):
            if isinstance(operand, np.ndarray):
                place = operand.__array_interface__["data"][0], operand.shape  # an array that is given twice stays one array
                return arrays.setdefault(place, (operand, self.copy(operand)))[1]
            if isinstance(operand, tuple):
                return tuple(map(fenced, operand))
            return self.record(operand) if isinstance(operand, Record) else operand

        alone(*map(fenced, operands))
        for original, copy in arrays.values():
            if original.flags.writeable:
                original[...] = copy

    def surround(self) -> None:
        """All that kernels get, from now on. One chunk of the work: of scratch for several, only one's end and one's start would be an edge."""
        fc.set_num_threads(1)
        memory.empty, memory.flat, memory.scratch, team.launch, team.least = self.empty, self.flat, self.flat, self.launch, 0

    def check(self, case: Convolution | Pooling, runs: dict[str, Callable]) -> None:
        """Every algorithm writes all of its result, and equals the textbook."""
        for operation, run in runs.items():
            with fc.algorithm("reference"):
                expected = run()
            assert not np.isnan(expected).any()
            for row in table.OPERATIONS[operation]:
                print(operation, row.name, expected.dtype, Limits().pixels, case, flush=True)
                with fc.algorithm(row.name):
                    found = run()
                assert_whole(found, expected, row.name)

    def convolution(self, case: Convolution, dtype, seed: int = 0) -> None:
        x, w, b, dy = (self.copy(a) for a in case.draw(integers, dtype, seed))
        self.check(
            case,
            {
                "conv_forward": lambda: case.forward(x, w, b),
                "conv_input_grad": lambda: case.input_grad(dy, w),
                "conv_weight_grad": lambda: case.weight_grad(x, dy, out=w.copy(), accumulate=True),
                "bias_grad": lambda: case.weight_grad(x, dy, return_bias_grad=True)[1],
            },
        )

        self.prepared(case, x, w, b)

    def prepared(self, case: Convolution, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> None:
        """The forward passes whose weights were packed before, and the packing."""
        with fc.algorithm("reference"):
            expected = case.forward(x, w, b)
        flat_x, flat_w = layout.activation(x.shape, x.dtype).flat(x), layout.weight(w.shape, w.dtype).flat(w)
        for row in table.OPERATIONS["conv_forward"]:
            if row.prepared and x.dtype in row.dtypes and row.fits(case.g):
                print("prepared", row.name, x.dtype, Limits().pixels, case, flush=True)
                run, y = row.prepared(case.g, x.dtype), self.empty((expected.size,), x.dtype)
                run(flat_x, self.copy(run.pack(flat_w)), b, y)
                assert_whole(layout.activation(expected.shape, x.dtype).view(y), expected, row.name)

    def pooling(self, case: Pooling, dtype, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        x, dy = integers(rng, case.x, dtype), integers(rng, case.g.output_shape, dtype)
        argmax = case.max(x)[1]
        runs = {"max_pool": lambda: case.max(x)[0], "max_pool_grad": lambda: case.max_grad(dy, argmax)}
        self.check(case, runs)
        whole = {"divisor_override": 1}  # exact
        self.check(case, {"avg_pool": lambda: case.avg(x, **whole), "avg_pool_grad": lambda: case.avg_grad(dy, **whole)})

    def resampling(self, dtype) -> None:
        """Padding, upsampling and unpooling, which have no row in the table, of channels that fill no vector, and of more."""
        for C in (1, 3, 21):
            print("resampling", np.dtype(dtype), C, flush=True)
            x = integers(np.random.default_rng(0), (2, C, 5, 7), dtype)
            y = ops.pad(x, (2, 1, 0, 3), mode="reflect")
            np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (0, 0), (0, 3), (2, 1)), "reflect"))
            assert ops.pad_grad(y, x.shape, (2, 1, 0, 3), mode="reflect").sum() == y.sum()
            for words in ({"size": (3, 11), "mode": "bilinear"}, {"scale_factor": 2}):
                y = ops.upsample(np.ones_like(x), **words)
                assert abs(y - 1).max() < 1e-6
                assert abs(ops.upsample_grad(y, x.shape, **words).sum() - y.sum()) < 1e-3
            y, argmax = ops.max_pool2d(x, 3, stride=2)
            indices = ops.flat_indices(argmax, x.shape, 3, stride=2)
            assert np.isfinite(ops.max_unpool2d_grad(ops.max_unpool2d(y, indices, 3, stride=2), indices)).all()

    def training(self, dtype) -> None:
        """What has no row in the table: a few steps of a net with all kinds of layers, of sizes that fill no vector."""
        print("training", np.dtype(dtype), flush=True)
        (x, y), _ = data.digits()
        x, y = x[:33].astype(dtype), y[:33]
        for make in (optim.Adam, optim.RMSprop, optim.SGD):
            body = layers.Conv2d(1, 5, 3, dtype=dtype), layers.BatchNorm2d(5, dtype=dtype), layers.ReLU(), layers.Dropout(0.3)
            block = layers.Residual(layers.Sequential(layers.Conv2d(5, 5, 3, padding=1, dtype=dtype), layers.BatchNorm2d(5, dtype=dtype)))
            functions = [layers.ELU(), layers.GELU(), layers.GELU("tanh"), layers.Hardswish(), layers.SiLU(), layers.Softplus(), layers.LeakyReLU()]
            own = layers.GroupNorm(1, 5, dtype=dtype), layers.LayerNorm((5, 6, 6), dtype=dtype), layers.Softmax(2), layers.LogSoftmax()
            tail = (
                layers.ReLU(),
                *functions,
                *own,
                layers.Sigmoid(),
                layers.MaxPool2d(2),
                layers.Flatten(),
                layers.Linear(45, 10, dtype=dtype),
                layers.Tanh(),
            )
            model = layers.Sequential(*body, block, *tail)
            optimizer = make(model.parameters(), 0.01, clip_norm=1.0)
            history = fc.train.fit(model, (x, y), epochs=1, batch_size=11, optimizer=optimizer, shift=1, flip=0.5, noise=0.1)
            assert np.isfinite(history[0]["loss"])
            assert np.isfinite(losses.cross_entropy(model(x), y)[0])


def shrink() -> None:
    """Items and patches are small from now on."""
    Limits.__new__.__defaults__ = (SMALL["PIXELS"], SMALL["PATCH"], *Limits.__new__.__defaults__[2:])
    for name, module in list(sys.modules.items()):
        if name.startswith("fastconv.kernels."):
            vars(module).update({key: value for key, value in SMALL.items() if key in vars(module)})
    passes.convolution.cache_clear()
    passes.pooling.cache_clear()


def script(*words: str) -> subprocess.CompletedProcess:
    places = str(Path(fc.__file__).parents[1]), str(Path(geometries.__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "NUMBA_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-X", "faulthandler", __file__, *words], env=environment, capture_output=True, text=True)


@posix
@edges
@pytest.mark.slow
def test_kernels_stay_in_their_memory(edge):
    """Also: no result keeps a cell that nobody wrote, and none depends on memory that nobody wrote."""
    done = script(edge)
    assert done.returncode == 0, f"died or failed at: {done.stdout.splitlines()[-1:]}\n{done.stderr[-3000:]}"


@posix
@edges
def test_a_touch_is_noticed(edge):
    """The law of the test above: one byte outside kills."""
    done = script(edge, "touch")
    assert (done.returncode < 0, done.stdout) == (True, "inside\n")


if __name__ == "__main__":
    fence = Fence(sys.argv[1])
    if sys.argv[2:] == ["touch"]:
        array = fence.empty((5, 3), np.float32)
        array += array
        print("inside", flush=True)
        ctypes.string_at(array.ctypes.data + (array.nbytes if fence.edge == "end" else -1), 1)
    fence.surround()

    @settings(max_examples=RANDOM, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(convolutions(), st.sampled_from((1, 5)), poolings(), st.integers(0, 2**32 - 1))
    def random(case, wider, pooling, seed):
        fence.convolution(case._replace(w=(wider * case.w[0], *case.w[1:])), np.float32, seed)
        fence.pooling(pooling, np.float32, seed)

    for limits in (None, shrink):
        if limits:
            limits()
        for dtype, case in product(DTYPES, CONVOLUTIONS):
            fence.convolution(case, dtype)
        for dtype, case in product(DTYPES, POOLINGS):
            fence.pooling(case, dtype)
        random()
    for dtype in DTYPES:
        fence.training(dtype)
        fence.resampling(dtype)
