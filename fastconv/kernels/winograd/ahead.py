"""What the transforms will touch next is prefetched while the GEMM runs: that is bound by arithmetic, transforms by memory (1.08 to 1.34 times).

Tiles of a row of tiles share four rows of the image. With 16 columns, 64 channels: 4 tiles and 4096 elements a row of tiles. The rows of the
block's own tiles were prefetched before, so it goes on one row of tiles after them; a block of 24 tiles and 144 micro-tiles:

    tiles 24..48: elements 28672..53248, 176 of them in each micro-tile
"""

from fastconv.kernels.compile import serial
from fastconv.kernels.simd.ahead import lines_ahead


@serial
def elements_of(memory, first, stop, plan, parts):
    """Those of the rows of tiles first..stop, in so many parts of whole lines"""
    per_image, size = plan.TH * plan.TW, len(memory)
    image = size // (plan.tiles // per_image)
    row = image // plan.TH
    start = first // per_image * image + first % per_image * row // plan.TW + row
    end = stop // per_image * image + stop % per_image * row // plan.TW + row
    return lines_ahead(memory, start, end, parts)
