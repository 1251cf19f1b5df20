"""The one validated door to the kernels: shapes, dtypes, allocation, choice of algorithm.

Every function takes and returns PyTorch's shapes, (N, C, spatial...); the memory of an activation is channels-last. Operands
are float32 or float64, all alike, in any memory layout; they are never written. TypeError names a wrong dtype and the
conversion to write, ValueError a wrong shape or value with all shapes.
"""

from fastconv.ops.convolution import (
    bias_grad,
    conv1d,
    conv1d_input_grad,
    conv1d_weight_grad,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv3d,
    conv3d_input_grad,
    conv3d_weight_grad,
)
from fastconv.ops.elementwise import dropout, relu, relu_grad
from fastconv.ops.linear import linear, linear_input_grad, linear_weight_grad
from fastconv.ops.norm import batch_norm, batch_norm_grad, batch_statistics
from fastconv.ops.pooling import (
    avg_pool1d,
    avg_pool1d_grad,
    avg_pool2d,
    avg_pool2d_grad,
    avg_pool3d,
    avg_pool3d_grad,
    max_pool1d,
    max_pool1d_grad,
    max_pool2d,
    max_pool2d_grad,
    max_pool3d,
    max_pool3d_grad,
)
from fastconv.ops.transposed import (
    conv_transpose1d,
    conv_transpose1d_input_grad,
    conv_transpose1d_weight_grad,
    conv_transpose2d,
    conv_transpose2d_input_grad,
    conv_transpose2d_weight_grad,
    conv_transpose3d,
    conv_transpose3d_input_grad,
    conv_transpose3d_weight_grad,
)

__all__ = [
    "avg_pool1d",
    "avg_pool1d_grad",
    "avg_pool2d",
    "avg_pool2d_grad",
    "avg_pool3d",
    "avg_pool3d_grad",
    "batch_norm",
    "batch_norm_grad",
    "batch_statistics",
    "bias_grad",
    "conv1d",
    "conv1d_input_grad",
    "conv1d_weight_grad",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv3d",
    "conv3d_input_grad",
    "conv3d_weight_grad",
    "conv_transpose1d",
    "conv_transpose1d_input_grad",
    "conv_transpose1d_weight_grad",
    "conv_transpose2d",
    "conv_transpose2d_input_grad",
    "conv_transpose2d_weight_grad",
    "conv_transpose3d",
    "conv_transpose3d_input_grad",
    "conv_transpose3d_weight_grad",
    "dropout",
    "linear",
    "linear_input_grad",
    "linear_weight_grad",
    "max_pool1d",
    "max_pool1d_grad",
    "max_pool2d",
    "max_pool2d_grad",
    "max_pool3d",
    "max_pool3d_grad",
    "relu",
    "relu_grad",
]
