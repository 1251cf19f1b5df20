"""Nopython loops, arrays in, arrays out. Kernels never validate, never allocate results, never raise: `ops` has done all that.

Arrays are 5-D here, whatever the rank of the layer: activations (N, C, D, H, W) whose memory is (N, D, H, W, C) without gaps,
weights (OC, IC/G, KD, KH, KW). 1-D and 2-D have extents of 1 in front.
"""
