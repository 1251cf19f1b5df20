"""Layers: nouns with parameters; `forward` returns the output and the way back."""

from fastconv import reflexes
from fastconv.layers import init
from fastconv.layers.activations import ELU, GELU, Hardswish, LeakyReLU, LogSoftmax, Sigmoid, SiLU, Softmax, Softplus, Tanh
from fastconv.layers.adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    GlobalAvgPool2d,
)
from fastconv.layers.branches import Concat, Residual
from fastconv.layers.convolution import Conv1d, Conv2d, Conv3d
from fastconv.layers.dropout import Dropout1d, Dropout2d, Dropout3d
from fastconv.layers.freehand import Identity, Lambda
from fastconv.layers.group_norm import GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm
from fastconv.layers.layer import Backward, Layer, once
from fastconv.layers.module import Module
from fastconv.layers.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fastconv.layers.parameter import Buffer, Parameter, flatten
from fastconv.layers.pooling import AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from fastconv.layers.resampling import Pad, Upsample
from fastconv.layers.reshape import Reshape
from fastconv.layers.sequential import Sequential
from fastconv.layers.simple import Dropout, Flatten, Linear, ReLU
from fastconv.layers.transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Backward",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Buffer",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardswish",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "Lambda",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Module",
    "Pad",
    "Parameter",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Upsample",
    "flatten",
    "init",
    "once",
]

__getattr__ = reflexes.of_module("layers", __name__)
