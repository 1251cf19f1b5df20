"""What a convolution sees: an edge filter from 1968, run by the same function that a network trains.

A convolution slides a small matrix of weights, the kernel, over an image. Each output is a sum of products: how well the
patch of the image under the kernel agrees with it. Networks learn their kernels; here they are written by hand, Sobel's two:

    -1 0 1                                       -1 -2 -1
    -2 0 2   positive where it gets brighter      0  0  0   positive where it gets brighter
    -1 0 1   from left to right                   1  2  1   from top to bottom

Where nothing changes, the weights cancel and the output is 0. Both kernels are the two output channels of one convolution.

    python examples/edge_filter.py
"""

import numpy as np

from fastconv import ops

SIZE = 24


def house() -> np.ndarray:
    """A bright house with a dark door on a dark ground."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image = np.zeros((SIZE, SIZE), np.float32)
    image[(rows >= 10) & (rows < 21) & (columns >= 5) & (columns < 19)] = 0.5  # the wall
    image[(rows >= 3) & (rows < 10) & (abs(columns - 11.5) <= 1.4 * (rows - 2))] = 1  # the roof
    image[(rows >= 14) & (rows < 21) & (columns >= 10) & (columns < 14)] = 0  # the door
    return image


def show(*pictures: np.ndarray) -> None:
    """Pictures side by side, the darkest value as a blank, the brightest as @; two characters make a square pixel."""
    shades = np.array(list(" .:-=+*#%@"))
    lines = []
    for picture in pictures:
        low, high = picture.min(), picture.max()
        level = ((picture - low) / (high - low) * (len(shades) - 1)).astype(int)
        lines.append(["".join(np.repeat(row, 2)) for row in shades[level]])
    print("\n".join("    ".join(parts).rstrip() for parts in zip(*lines)) + "\n")


image = house()

sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
w = np.stack([sobel, sobel.T])[:, None]  # (OC, IC, KH, KW) = (2, 1, 3, 3): two kernels that read one channel
x = image[None, None]  # (N, IC, IH, IW) = (1, 1, 24, 24): one image of one channel

y = ops.conv2d(x, w, padding=1)  # (N, OC, OH, OW) = (1, 2, 24, 24): padding 1 keeps the size
across, down = y[0]
edges = np.hypot(across, down)  # the length of the gradient: an edge in any direction

print(f"x{x.shape} with w{w.shape} gives y{y.shape}\n")
print("the image, and its edges in any direction:\n")
show(image, edges)
print("brighter to the right is light, darker to the right is dark; and the same downwards:\n")
show(across, down)

# The same arithmetic by hand, at the left edge of the wall: patch times kernel, summed.
oh, ow = 16, 5
patch = image[oh - 1 : oh + 2, ow - 1 : ow + 2]
print(f"y[0, 0, {oh}, {ow}] = sum of {patch.tolist()} * {sobel.astype(int).tolist()}")
print(f"                = {(patch * sobel).sum():.1f} by hand, {across[oh, ow]:.1f} from conv2d")
