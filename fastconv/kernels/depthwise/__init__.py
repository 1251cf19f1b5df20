"""Convolution where groups have few channels: lanes are channels."""

from fastconv.kernels.depthwise.forward import Forward, InputGrad, forward_error, input_grad_error
from fastconv.kernels.depthwise.plan import fits
from fastconv.kernels.depthwise.weight_grad import WeightGrad, weight_grad_error

__all__ = ["Forward", "InputGrad", "WeightGrad", "fits", "forward_error", "input_grad_error", "weight_grad_error"]
