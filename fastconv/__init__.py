"""fastconv: train small convolutional networks on a CPU, with NumPy and Numba alone.

from fastconv import ops, layers, losses, optim, train, data, models
"""

import sys

try:
    from fastconv import data, functional, layers, losses, models, ops, optim, reflexes, train
    from fastconv.differences import GradientError, gradcheck
    from fastconv.inference import compile
    from fastconv.kernels.compile import get_num_threads, set_num_threads
    from fastconv.kernels.table import algorithm
    from fastconv.layers import Module
    from fastconv.saliency import saliency
    from fastconv.saving import load, save
    from fastconv.streams import seed
    from fastconv.train.trained import load_run
    from fastconv.version import __version__
except KeyboardInterrupt:
    _is_program = sys.argv[:1] == ["-m"] and "fastconv" in sys.orig_argv  # python -m fastconv
    if not _is_program and sys.argv[0].replace("\\", "/").rpartition("/")[2].removesuffix(".exe") != "fastconv":
        raise
    print("\nfastconv: interrupted", file=sys.stderr)
    sys.exit(130)

__all__ = [
    "GradientError",
    "Module",
    "__version__",
    "algorithm",
    "compile",
    "data",
    "functional",
    "get_num_threads",
    "gradcheck",
    "layers",
    "load",
    "load_run",
    "losses",
    "models",
    "ops",
    "optim",
    "saliency",
    "save",
    "seed",
    "set_num_threads",
    "train",
]

__getattr__ = reflexes.of_module("fastconv", __name__)
