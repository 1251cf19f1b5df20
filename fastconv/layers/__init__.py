"""Layers: nouns with parameters; `forward` returns the output and the way back."""

from fastconv.layers.convolution import Conv1d, Conv2d, Conv3d
from fastconv.layers.layer import Layer, once
from fastconv.layers.parameter import Buffer, Parameter, flatten
from fastconv.layers.pooling import AvgPool1d, AvgPool2d, AvgPool3d, GlobalAvgPool2d, MaxPool1d, MaxPool2d, MaxPool3d
from fastconv.layers.sequential import Sequential
from fastconv.layers.simple import Dropout, Flatten, Linear, ReLU
from fastconv.layers.transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Buffer",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "Layer",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Parameter",
    "ReLU",
    "Sequential",
    "flatten",
    "once",
]
