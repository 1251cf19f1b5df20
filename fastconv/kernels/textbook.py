"""The textbook: each operation once, as plain loops, slowly, for any dtype. Never optimized; every test compares with it.

A convolution is a trilinear form: sum over n, oc, od, oh, ow, ic, kd, kh, kw of  dy * x * w  where

    id = od * SD - PD + kd * DD      ih = oh * SH - PH + kh * DH      iw = ow * SW - PW + kw * DW

Its three derivatives are the three passes: by dy the forward pass, by x the input gradient, by w the weight gradient. Three tables tell what
input an index of the padded input reads, counted from its first: row[oh * SH + kh * DH] is ih where that is inside the input; in the
padding it is the input index that the padding mode repeats, or -1 for zeros.
"""

import numpy as np

from fastconv.kernels.compile import reference


@reference
def conv_forward(x, w, b, y, g, depth, row, column):
    """y[n,oc,od,oh,ow] = b[oc] + sum over ic,kd,kh,kw of x[n,ic,id,ih,iw] * w[oc,ic,kd,kh,kw]"""
    for n, oc, od, oh, ow in np.ndindex(y.shape):  # outputs outside,
        y[n, oc, od, oh, ow] = b[oc]
        group = oc // (g.OC // g.G)
        for ic, kd, kh, kw in np.ndindex(w.shape[1:]):  # reductions inside
            id, ih, iw = depth[od * g.SD + kd * g.DD], row[oh * g.SH + kh * g.DH], column[ow * g.SW + kw * g.DW]
            if id >= 0 and ih >= 0 and iw >= 0:  # what is not there is 0
                y[n, oc, od, oh, ow] += x[n, group * w.shape[1] + ic, id, ih, iw] * w[oc, ic, kd, kh, kw]


@reference
def conv_input_grad(dy, w, dx, g, depth, row, column):
    """dx[n,ic,id,ih,iw] = sum over all oc,kd,kh,kw and outputs that read that input of dy[n,oc,od,oh,ow] * w[oc,ic,kd,kh,kw]"""
    dx[...] = 0
    for n, oc, od, oh, ow in np.ndindex(dy.shape):  # each output's gradient is scattered over the inputs it has read
        group = oc // (g.OC // g.G)
        for ic, kd, kh, kw in np.ndindex(w.shape[1:]):
            id, ih, iw = depth[od * g.SD + kd * g.DD], row[oh * g.SH + kh * g.DH], column[ow * g.SW + kw * g.DW]
            if id >= 0 and ih >= 0 and iw >= 0:
                dx[n, group * w.shape[1] + ic, id, ih, iw] += dy[n, oc, od, oh, ow] * w[oc, ic, kd, kh, kw]


@reference
def conv_weight_grad(x, dy, dw, g, depth, row, column):
    """dw[oc,ic,kd,kh,kw] = sum over n,od,oh,ow of x[n,ic,id,ih,iw] * dy[n,oc,od,oh,ow]: a shared weight sums over its uses"""
    dw[...] = 0
    for n, oc, od, oh, ow in np.ndindex(dy.shape):
        group = oc // (g.OC // g.G)
        for ic, kd, kh, kw in np.ndindex(dw.shape[1:]):
            id, ih, iw = depth[od * g.SD + kd * g.DD], row[oh * g.SH + kh * g.DH], column[ow * g.SW + kw * g.DW]
            if id >= 0 and ih >= 0 and iw >= 0:
                dw[oc, ic, kd, kh, kw] += x[n, group * dw.shape[1] + ic, id, ih, iw] * dy[n, oc, od, oh, ow]


@reference
def bias_grad(dy, db):
    """db[oc] = sum over n,od,oh,ow of dy[n,oc,od,oh,ow]"""
    db[...] = 0
    for n, oc, od, oh, ow in np.ndindex(dy.shape):
        db[oc] += dy[n, oc, od, oh, ow]


@reference
def max_pool(x, y, argmax, g):
    """y[n,c,od,oh,ow] = the largest tap of its window; argmax = which tap, counted kd, kh, kw; the first wins a tie, NaN wins"""
    for n, c, od, oh, ow in np.ndindex(y.shape):
        empty = True
        for kd, kh, kw in np.ndindex((g.KD, g.KH, g.KW)):
            id, ih, iw = od * g.SD - g.PD + kd * g.DD, oh * g.SH - g.PH + kh * g.DH, ow * g.SW - g.PW + kw * g.DW
            if 0 <= id < g.ID and 0 <= ih < g.IH and 0 <= iw < g.IW:
                value, best = x[n, c, id, ih, iw], y[n, c, od, oh, ow]
                if empty or value > best or (np.isnan(value) and not np.isnan(best)):
                    empty = False
                    y[n, c, od, oh, ow] = value
                    argmax[n, c, od, oh, ow] = (kd * g.KH + kh) * g.KW + kw


@reference
def max_pool_grad(dy, argmax, dx, g):
    """Each output's gradient goes to the one input that was its maximum."""
    dx[...] = 0
    for n, c, od, oh, ow in np.ndindex(dy.shape):
        tap = np.int64(argmax[n, c, od, oh, ow])
        kd, kh, kw = tap // (g.KH * g.KW), tap // g.KW % g.KH, tap % g.KW
        id, ih, iw = od * g.SD - g.PD + kd * g.DD, oh * g.SH - g.PH + kh * g.DH, ow * g.SW - g.PW + kw * g.DW
        dx[n, c, id, ih, iw] += dy[n, c, od, oh, ow]


@reference
def avg_pool(x, divisors, y, g):
    """y[n,c,od,oh,ow] = (sum of its window) / divisors[od,oh,ow]"""
    for n, c, od, oh, ow in np.ndindex(y.shape):
        total = 0.0
        for kd, kh, kw in np.ndindex((g.KD, g.KH, g.KW)):
            id, ih, iw = od * g.SD - g.PD + kd * g.DD, oh * g.SH - g.PH + kh * g.DH, ow * g.SW - g.PW + kw * g.DW
            if 0 <= id < g.ID and 0 <= ih < g.IH and 0 <= iw < g.IW:
                total += x[n, c, id, ih, iw]
        y[n, c, od, oh, ow] = total / divisors[od, oh, ow]


@reference
def avg_pool_grad(dy, divisors, dx, g):
    """Each output's gradient is spread evenly over its window."""
    dx[...] = 0
    for n, c, od, oh, ow in np.ndindex(dy.shape):
        for kd, kh, kw in np.ndindex((g.KD, g.KH, g.KW)):
            id, ih, iw = od * g.SD - g.PD + kd * g.DD, oh * g.SH - g.PH + kh * g.DH, ow * g.SW - g.PW + kw * g.DW
            if 0 <= id < g.ID and 0 <= ih < g.IH and 0 <= iw < g.IW:
                dx[n, c, id, ih, iw] += dy[n, c, od, oh, ow] / divisors[od, oh, ow]
