"""Shapes, windows and output sizes in plain Python integers; no Numba here."""

from fastconv.geometry.adaptive import Shares, along, share_collects, share_reads, share_sizes, share_taps
from fastconv.geometry.binding import bind, describe
from fastconv.geometry.padding import padding_word, sources
from fastconv.geometry.windows import (
    Geometry,
    Walk,
    average_divisors,
    collects,
    conv_geometry,
    pool_geometry,
    pool_words,
    reads,
    repeats,
    transposed_geometry,
    transposed_words,
)
from fastconv.geometry.words import described, flag, function, instance, integer, number, padding_pairs, real, spatial, whole

__all__ = [
    "Geometry",
    "Shares",
    "Walk",
    "along",
    "average_divisors",
    "bind",
    "collects",
    "conv_geometry",
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
    "sources",
    "spatial",
    "transposed_geometry",
    "transposed_words",
    "whole",
]
