"""Convolution with few channels on one side, stride 1: a pixel is broadcast once for all the taps of a kernel row."""
