"""Shapes, windows and output sizes in plain Python integers; no Numba here."""

from fastconv.geometry.adaptive import Shares, along, share_collects, share_reads, share_sizes, share_taps
from fastconv.geometry.binding import bind, describe
from fastconv.geometry.padding import padding_word, sources
from fastconv.geometry.walks import Walk, collects, coordinates, copies, reads, repeats
from fastconv.geometry.windows import (
    Geometry,
    average_divisors,
    conv_geometry,
    pool_geometry,
    pool_words,
    transposed_geometry,
    transposed_words,
)
from fastconv.geometry.words import (
    LARGEST,
    described,
    flag,
    function,
    instance,
    integer,
    number,
    padding_pairs,
    real,
    shown,
    spatial,
    whole,
)

__all__ = [
    "LARGEST",
    "Geometry",
    "Shares",
    "Walk",
    "along",
    "average_divisors",
    "bind",
    "collects",
    "conv_geometry",
    "coordinates",
    "copies",
    "describe",
    "described",
    "flag",
    "function",
    "instance",
    "integer",
    "number",
    "padding_pairs",
    "padding_word",
    "pool_geometry",
    "pool_words",
    "reads",
    "real",
    "repeats",
    "share_collects",
    "share_reads",
    "share_sizes",
    "share_taps",
    "shown",
    "sources",
    "spatial",
    "transposed_geometry",
    "transposed_words",
    "whole",
]
