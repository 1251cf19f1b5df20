"""Every public callable with one or two bad arguments: it succeeds, or raises a ValueError or TypeError that names itself or the argument,
and leaves its operands and the library's state as they were; nonsense does not succeed."""

import inspect
import random
import re
import sys
import traceback
import warnings
from pathlib import Path

import numba
import numpy as np
from data_files import idx_bytes, write_folder, write_mnist
from PIL import Image
from reliability import values
from reliability.calls import CALLS
from reliability.operands import Call, f32, labels, net

import fastconv as fc
from fastconv.kernels.table import chosen as algorithm_chosen
from fastconv.train.runs import save_run

CASTS = (np.exceptions.ComplexWarning, DeprecationWarning) if hasattr(np, "exceptions") else (DeprecationWarning,)
SIZES = {  # of what is returned: as large as they say, and checked to be addressable
    "in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels", "normalized_shape", "classes", "width",
    "kernel_size", "output_size", "weight_shape",
    "padding", "stride", "dilation", "size", "scale_factor",
}  # fmt: skip
PUBLIC = {part for name in CALLS for part in name.split(".")[1:]}


def tasks(seed: int, long: bool) -> list[str]:
    """All single replacements and some of pairs; without --long some of each."""
    chance = random.Random(seed)
    singles, pairs = [], []
    for name, make in CALLS.items():
        call = make()
        bound = _bound(call)
        options = {
            argument: [
                value for value in values.fitting(base)
                if not (argument in call.endless and value in values.LARGE) and not (argument in call.functions and value == "class")
            ]
            for argument, base in bound.arguments.items()
        }  # fmt: skip
        own = [f"{name} {argument}={value}" for argument, several in options.items() for value in several]
        singles += own if long else chance.sample(own, min(len(own), 1))
        for _ in range(20 * (len(options) > 1) if long else len(options) > 1 and chance.random() < 0.2):
            first, second = chance.sample(sorted(options), 2)
            pairs.append(f"{name} {first}={chance.choice(options[first])} {second}={chance.choice(options[second])}")
    chance.shuffle(singles)  # so that the slow ones are not side by side
    return singles + pairs


def prepare() -> None:
    """Files for the calls that read some, in the working folder; and each kernel is loaded before memory is limited."""
    fc.save(net(), "net.npz")
    config = {"model": "small_cnn", "in_channels": 1, "size": [4, 4], "classes": 2, "class_names": ["a", "b"], "data": "own", "normalise": None}
    save_run(Path("run"), fc.models.small_cnn(1, 4, 2), config, [])
    write_mnist(Path())
    Path("labels.idx").write_bytes(idx_bytes(labels(5).astype("u1")))
    Path("classes").mkdir()
    write_folder(Path("classes"), (255 * abs(np.sin(f32(30, 2, 6, 5)))).astype("u1"))
    for i in range(6):
        path = Path("pictures") / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 4), 40 * i, np.uint8)).save(path)
    np.savez("data.npz", x=np.zeros((6, 4, 4), "u1"), y=labels(6), x_test=np.zeros((6, 4, 4), "u1"), y_test=labels(6))


def judge(task: str) -> tuple[str, str]:
    """What happened, and what is wrong with that, or ""."""
    name, *replacements = task.split(" ")
    call = CALLS[name]()
    bound = _bound(call)
    chosen = dict(replacement.split("=", 1) for replacement in replacements)
    for argument, value in chosen.items():
        bad = values.make(value, bound.arguments[argument])
        several = inspect.signature(call.function).parameters[argument].kind is inspect.Parameter.VAR_POSITIONAL
        bound.arguments[argument] = (bad,) if several else bad
    operands, state = _told(bound.arguments), _state()
    outcome, fault = "returned", ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in CASTS:  # numbers lost without a word
            warnings.simplefilter("error", kind)
        try:
            call.then(call.function(*bound.args, **bound.kwargs))
            taken = [argument for argument, value in chosen.items() if value in values.NONSENSE and argument not in call.anything]
            fault = f"takes nonsense without a word: {', '.join(taken)}" if taken else ""
        except (ValueError, TypeError, values.Lie, *call.may) as error:
            outcome = type(error).__name__
            if not isinstance(error, (values.Lie, *call.may)) and not _names(error, [*name.split(".")[1:], *chosen], bound.arguments):
                fault = f"{outcome} names neither the call nor the argument: {str(error)[:200]}"
        except MemoryError as error:
            outcome = type(error).__name__
            fault = "" if SIZES & chosen.keys() else f"MemoryError: {str(error)[:200]} ({_place(error)})"
        except BaseException as error:
            outcome = type(error).__name__
            fault = f"{outcome} instead of ValueError or TypeError: {str(error)[:200]} ({_place(error)})"
        finally:
            _close_figures()
    if (outcome != "returned" or not call.changes) and _told(bound.arguments) != operands:
        fault = fault or f"{outcome}: operands have changed"
    if _state() != state and not (outcome == "returned" and name == "fc.set_num_threads"):
        fault = fault or f"{outcome}: state {state} became {_state()}"
    fc.set_num_threads(1)
    return outcome, fault


def _bound(call: Call) -> inspect.BoundArguments:
    """The call's arguments by name, arrays as copies."""
    bound = inspect.signature(call.function).bind(*call.args, **call.words)
    bound.apply_defaults()
    keep = {name for name, parameter in bound.signature.parameters.items() if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
    bound.arguments = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in bound.arguments.items() if name in keep}
    return bound


def _names(error: Exception, words: list[str], operands: dict) -> bool:
    """Whether its message begins with the name of a public callable, or with the file that is wrong, or holds one of these words."""
    message = str(error)
    files = tuple(str(Path(bad)) for bad in operands.values() if isinstance(bad, (str, Path)))
    if isinstance(error, fc.data.FileFormatError) and message.startswith(files):
        return True
    return message.partition(":")[0].partition(".")[0] in PUBLIC or any(
        re.search(rf"(?<![a-z]){re.escape(word.lower())}(?![a-z])", message.lower()) for word in words
    )


def _place(error: BaseException) -> str:
    """The last line of the package on the way to the error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "fastconv" in frame.filename and "reliability" not in frame.filename]
    return f"{frames[-1].filename.rpartition('fastconv/')[2]}:{frames[-1].lineno}" if frames else "outside of fastconv"


def _told(value: object, depth: int = 0) -> object:
    """Everything about operands that a call must leave alone, to compare."""
    if isinstance(value, np.ma.MaskedArray) or (isinstance(value, np.ndarray) and value.dtype == object):
        return repr(value)
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.flags.writeable, value.tobytes() if value.size < 1e6 else None
    if isinstance(value, fc.layers.Layer):
        return _told(value.state_dict())
    if isinstance(value, fc.layers.Parameter):
        return _told((value.value, value.has_grad, value.grad))
    if isinstance(value, fc.optim.Optimizer):
        return _told((value.parameters, value.state_dict(), value.lr))
    if isinstance(value, (list, tuple)) and depth < 4:
        return type(value), [_told(entry, depth + 1) for entry in value]
    if isinstance(value, dict):
        return {key: _told(entry, depth + 1) for key, entry in value.items()}
    return None


def _state() -> tuple:
    return fc.get_num_threads(), numba.get_num_threads(), tuple(np.geterr().values()), algorithm_chosen.get(), np.random.get_state()[2]


def _close_figures() -> None:
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
