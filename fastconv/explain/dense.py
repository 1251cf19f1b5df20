"""A layer as a matrix: a convolution is a fully connected layer with most weights forced to 0 and the others tied together."""

import math

import numpy as np

from fastconv.geometry import Geometry, array, instance, sources
from fastconv.layers import Conv2d, Layer, Linear
from fastconv.layers.parameter import no_parameter_gradients
from fastconv.ops.operands import floats, shape_tuple

CONVOLUTIONS = (Conv2d.forward, Linear.forward)  # Conv1d and Conv3d have Conv2d's
LARGEST = 2**28  # entries of a matrix: 1 GB of float32
BATCH = 2**24  # entries of the input, or of the output, of one pass that finds some rows


def derivative(layer: Layer, x) -> np.ndarray:
    """(outputs, inputs): entry [o, i] says how much output o rises per unit of input i, near x. x: one image, (1, ...).

    Row o is what the layer's backward answers to a dy that is 1 at output o and 0 elsewhere (in inference mode). The gradients of its
    parameters stay what they were. ValueError for matrices of more than 2**28 entries.
    """
    instance("derivative", "layer", layer, Layer, "a Layer")
    (x,) = floats("derivative", x=x)
    if x.shape[:1] != (1,) or x.ndim < 2:
        raise ValueError(f"derivative: x must be one image, (1, ...), got {x.shape}: write x[:1]")
    outputs = math.prod(layer.output_shape(x.shape))
    _check_size("derivative", outputs, x.size)
    matrix = np.empty((outputs, x.size), x.dtype)
    step = max(1, BATCH // max(outputs, x.size, 1))
    for first in range(0, outputs, step):
        some = list(range(first, min(first + step, outputs)))
        matrix[some[0] : some[-1] + 1] = rows_of_derivative(layer, x, some)
    return matrix


def rows_of_derivative(layer: Layer, x: np.ndarray, outputs: list[int]) -> np.ndarray:
    """The rows of these outputs, from one batch with a copy of x for each."""
    copies = np.repeat(x, len(outputs), axis=0)
    y, backward = layer.forward(copies, training=False)
    dy = np.zeros((len(outputs), y.size // len(outputs)), y.dtype)
    dy[np.arange(len(outputs)), outputs] = 1
    with no_parameter_gradients():
        return np.ascontiguousarray(backward(dy.reshape(y.shape))).reshape(len(outputs), -1)


def as_dense_matrix(layer: Layer, input_shape) -> np.ndarray:
    """The matrix of a linear layer for one image: y.ravel() = matrix @ x.ravel() + what the layer answers to zeros (its biases).

    (outputs, inputs), for Conv, AvgPool, Linear, Flatten, chains of these, with any option; input_shape: (N, C, ...), N is not used.
    ValueError where no one matrix will do (ReLU, MaxPool): `derivative` gives the one that holds near some x.
    """
    instance("as_dense_matrix", "layer", layer, Layer, "a Layer")
    shape = one_image("as_dense_matrix", input_shape)
    dtype = next((p.dtype for p in layer.parameters()), np.dtype(np.float64))
    _check_size("as_dense_matrix", math.prod(layer.output_shape(shape)), math.prod(shape))
    matrix = derivative(layer, np.zeros(shape, dtype))
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    biases = layer(np.zeros(shape, dtype)).ravel()
    for point in (x, -x, 1e6 * x, -1e6 * x):  # a bend is between two of these: both sides of 0, and beyond any usual bias
        expected, scale = matrix @ point.ravel() + biases, abs(matrix) @ abs(point.ravel()) + abs(biases)
        if (abs(layer(point).ravel() - expected) > 1e-4 * scale).any():
            raise ValueError(
                f"as_dense_matrix: {type(layer).__name__} is not linear, no one matrix gives its outputs; derivative(layer, x) holds near x"
            )
    return matrix


def ties(layer: Layer, input_shape) -> np.ndarray:
    """(outputs, inputs) integers: which entry of `weight.value.ravel()` stands there in `as_dense_matrix`, -1 for a zero that cannot change.

    For Conv and Linear; input_shape: (N, IC, ...), N is not used. Entries with the same number are tied: they are one weight. ValueError
    where copies in the padding (padding_mode) make an entry the sum of several weights.
    """
    instance("ties", "layer", layer, Layer, "a Layer")
    g = geometry(layer, one_image("ties", input_shape))
    if g is None:
        raise ValueError(f"ties: {type(layer).__name__} is no convolution and no Linear layer")
    outputs, inputs = math.prod(g.output_shape), math.prod(g.input_shape)
    _check_size("ties", outputs, inputs)
    oc, od, oh, ow, ic, kd, kh, kw = np.indices((g.OC, g.OD, g.OH, g.OW, g.IC // g.G, g.KD, g.KH, g.KW), sparse=True)
    id, ih, iw, real = cells_read(g, od, oh, ow, kd, kh, kw)
    c = oc // (g.OC // g.G) * (g.IC // g.G) + ic
    row = np.ravel_multi_index((oc, od, oh, ow), (g.OC, g.OD, g.OH, g.OW))
    column = np.ravel_multi_index((c, id, ih, iw), (g.IC, g.ID, g.IH, g.IW), mode="clip")
    weight = np.ravel_multi_index((oc, ic, kd, kh, kw), (g.OC, g.IC // g.G, g.KD, g.KH, g.KW))
    row, column, weight, real = np.broadcast_arrays(row, column, weight, real)  # until here, none was larger than it must be
    table = np.full((outputs, inputs), -1)
    table[row[real], column[real]] = weight[real]
    if np.count_nonzero(table >= 0) < np.count_nonzero(real):
        raise ValueError(
            f'ties: with padding_mode="{g.padding_mode}" here, an output may read an input through several weights: entries of the matrix are sums'
        )
    return table


def fold(matrix_gradient: np.ndarray, ties: np.ndarray, weight_shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of shared weights from the gradient of the matrix they fill: each sums over its places. Zeros get none."""
    (matrix_gradient,), ties = floats("fold", matrix_gradient=matrix_gradient), array("fold", "ties", ties)
    if ties.dtype.kind not in "iu":
        raise TypeError(f"fold: ties must hold integers, got dtype {ties.dtype}")
    weight_shape = shape_tuple("fold", "weight_shape", weight_shape, "OC IC ...")
    if matrix_gradient.shape != ties.shape:
        raise ValueError(f"fold: matrix_gradient{matrix_gradient.shape} and ties{ties.shape} must have the same shape")
    weights = math.prod(weight_shape)
    if ties.size and ties.max() >= weights:
        raise ValueError(f"fold: ties name weight {ties.max()}, but weight_shape={weight_shape} has {weights}")
    used = ties >= 0
    return np.bincount(ties[used].astype(np.int64), matrix_gradient[used], minlength=weights).reshape(weight_shape)


def one_image(op: str, input_shape) -> tuple[int, ...]:
    """(1, C, ...) of a batch's shape."""
    return (1, *shape_tuple(op, "input_shape", input_shape)[1:])


def geometry(layer: Layer, input_shape: tuple[int, ...]) -> Geometry | None:
    """Of a convolution (a Linear layer is one, on a single pixel); None for any other layer, also a subclass that computes something else."""
    return layer.geometry(input_shape) if type(layer).forward in CONVOLUTIONS else None


def cells_read(g: Geometry, od, oh, ow, kd, kh, kw) -> tuple[np.ndarray, ...]:
    """id, ih, iw of the inputs that these outputs read through these taps, and whether there are such: else it is a zero of the padding."""
    places = od * g.SD - g.PD + kd * g.DD, oh * g.SH - g.PH + kh * g.DH, ow * g.SW - g.PW + kw * g.DW
    id, ih, iw = (sources(place, extent, g.padding_mode) for place, extent in zip(places, (g.ID, g.IH, g.IW)))
    return id, ih, iw, (id >= 0) & (ih >= 0) & (iw >= 0)


def inside(i: np.ndarray, extent: int) -> np.ndarray:
    return (i >= 0) & (i < extent)


def _check_size(op: str, outputs: int, inputs: int) -> None:
    if outputs * inputs > LARGEST:
        raise ValueError(f"{op}: a matrix of {outputs} x {inputs} is too large to look at; take a smaller image")
