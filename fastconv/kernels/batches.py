"""Batches of images out of a data set: gathered and shifted in one pass."""

from numba import prange

from fastconv.kernels.policy import parallel, serial


@serial
def shifted_image(image, out, down, right):
    H, W, C = image.shape
    for h in range(H):
        ih = h - down
        for w in range(W):
            iw = w - right
            pixel = out[h, w]
            if 0 <= ih < H and 0 <= iw < W:
                source = image[ih, iw]
                for c in range(C):
                    pixel[c] = source[c]
            else:
                for c in range(C):
                    pixel[c] = 0


@parallel
def take_shifted(images, order, shifts, out):
    """out[i] = images[order[i]], moved shifts[i] = (down, right) pixels; what moves in is 0"""
    for i in prange(order.size):
        shifted_image(images[order[i]], out[i], shifts[i, 0], shifts[i, 1])
