"""export: the weights of a run in a file that other programs read."""

import argparse
from pathlib import Path

import fastconv as fc
from fastconv.cli.runs import run_folder


def add(verbs) -> None:
    verb = verbs.add_parser(
        "export", help="write a run's weights to a .safetensors or .npz file",
        description="Write the weights of a run, under PyTorch's names and shapes, to a file: .safetensors (pip install 'fastconv[io]') or .npz. "
        "The weights alone: where the run normalises its images, a line tells by which mean and std, and so must who uses them.",
    )  # fmt: skip
    verb.add_argument("dir", type=Path, metavar="RUN", help="the run's folder")
    verb.add_argument("file", type=Path, metavar="FILE", help="a name that ends in .safetensors or .npz; what has that name is replaced")
    verb.set_defaults(run=export)


def export(chosen: argparse.Namespace) -> None:
    run = fc.load_run(run_folder(chosen.dir))
    fc.save(run.model, chosen.file)
    print(f"{chosen.file}: {len(run.model.state_dict())} arrays of {run.config['model']}, {chosen.file.stat().st_size / 1e6:.1f} MB")
    if change := run.normalise:
        mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (change.mean, change.std))
        print(f"its images, 0..1, must be normalised first, (x - mean) / std of each channel: mean {mean}; std {std}")
