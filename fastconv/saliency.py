"""Which pixels a class's score depends on."""

import numpy as np

from fastconv.geometry import array, instance, integer
from fastconv.layers import Layer
from fastconv.layers.parameter import no_parameter_gradients
from fastconv.losses import class_labels
from fastconv.ops.operands import floats


def saliency(model: Layer, x, classes=None) -> np.ndarray:
    """How much the score of a class moves with each pixel: |d score / d x|, the largest of the pixel's channels, in inference mode.

    x: (N, C, spatial...) images; classes: (N,) integers, or one for all images; None: the classes that the model answers. Returns (N, spatial...).
    The gradients of the parameters stay what they are. TypeError for what is no Layer, ValueError for other shapes and classes. Simonyan, Vedaldi
    and Zisserman 2013, "Deep Inside Convolutional Networks", section 3.
    """
    instance("saliency", "model", model, Layer, "a Layer")
    (x,) = floats("saliency", x=x)
    if x.ndim < 3 or not x.size:
        raise ValueError(f"saliency: x must be images (N, C, spatial...), got {x.shape}")
    scores, backward = model.forward(x, training=False)
    if scores.ndim != 2 or len(scores) != len(x):
        raise ValueError(f"saliency: model must give scores (N, classes), got {scores.shape} for x{x.shape}")
    if classes is None:
        classes = scores.argmax(axis=1)
    elif not array("saliency", "classes", classes).ndim:
        classes = np.full(len(x), integer("saliency", "classes", classes, 0))
    d_scores = np.zeros_like(scores)
    d_scores[np.arange(len(x)), class_labels("saliency: classes", scores.shape, classes)] = 1
    with no_parameter_gradients():  # also where the layer is somebody's own, whose backward knows no param_grad
        return abs(backward(d_scores)).max(axis=1)
