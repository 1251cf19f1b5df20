"""The weights of a model in a file: NumPy's `.npz`, or `.safetensors` as other frameworks read it. Nothing is pickled.

The names and shapes are PyTorch's. safetensors: github.com/huggingface/safetensors (`pip install "fastconv[io]"`).
"""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fastconv.data import npy
from fastconv.data.reading import brief
from fastconv.files import FileFormatError, as_path, opened, write_whole
from fastconv.layers import Layer
from fastconv.memory import spared

KINDS = (".npz", ".safetensors")
# What NumPy has of a safetensors file's types: "F32" is "<f4". Missing are bfloat16 and the floats of 8 bits and less.
DTYPES = {f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "FIU" for size in (1, 2, 4, 8) if (kind, size) != ("F", 1)}


def save(model: Layer, path: str | os.PathLike) -> None:
    """Write the model's parameters and buffers, `model.state_dict()`, to a `.npz` or `.safetensors` file: whole, or not at all.

    The file says nothing of the layers; a model that has the same ones takes it over: `model.load_state_dict(fc.load(path))`.
    TypeError for what is no Layer, ValueError for another suffix, ImportError without safetensors, OSError where nothing can be written.
    """
    path = as_path("save", "path", path)
    if not isinstance(model, Layer):
        hint = ": write fc.save(model, path), which takes its state itself" if isinstance(model, Mapping) else ""
        raise TypeError(f"save: model must be a Layer, got {type(model).__name__}{hint}")
    if path.suffix not in KINDS:
        raise ValueError(f"save: path must end in {' or '.join(KINDS)}, got {path}")
    state = model.state_dict()
    write_whole(path, as_npz(state) if path.suffix == ".npz" else _safetensors().numpy.save(state))


@spared
def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` or `.safetensors` file by their names, as `save` or another framework wrote them.

    The counterpart of `save`: `model.load_state_dict(fc.load(path))`. OSError where there is no such file, FileFormatError (a ValueError)
    for what is not what its suffix says, is damaged, or holds anything but integers and floats that NumPy has: pickled objects, bfloat16.
    """
    path = as_path("load", "path", path)
    if path.suffix not in KINDS:
        hint = "; PyTorch writes the latter: safetensors.torch.save_file(model.state_dict(), path)" if path.suffix in (".pt", ".pth") else ""
        raise FileFormatError(f"{path}: the name must end in {' or '.join(KINDS)}{hint}")
    return npy.arrays(path, lambda names: names) if path.suffix == ".npz" else _from_safetensors(path)


def as_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """What `np.savez` writes, also where an array is named as one of its arguments."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, value, allow_pickle=False)
    return content.getvalue()


def _from_safetensors(path: Path) -> dict[str, np.ndarray]:
    safetensors = _safetensors()
    with opened(path) as file:
        content = file.read()
    try:
        entries = dict(safetensors.deserialize(content))
    except safetensors.SafetensorError as error:
        raise FileFormatError(f"{path}: not a safetensors file, {brief(error)}") from None
    for name, entry in entries.items():
        if entry["dtype"] not in DTYPES:
            raise FileFormatError(f"{path}: {name} is {entry['dtype']}; integers or NumPy's floats are needed: save it as F32")
        if len(entry["shape"]) > npy.MOST_DIMENSIONS:
            raise FileFormatError(f"{path}: {name} has {len(entry['shape'])} axes, at most {npy.MOST_DIMENSIONS} can be read")
    return {name: np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"]) for name, entry in entries.items()}


def _safetensors():
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError('.safetensors files need safetensors: pip install "fastconv[io]"') from None
    return safetensors
