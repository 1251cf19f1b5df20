"""Named nets, a few lines each: `model(in_channels, size, classes)`, where x is (N, in_channels, H, W) and size is H = W or (H, W).

Weights have PyTorch's names and shapes where the same layers stand in a `torch.nn.Sequential`.
"""

from fastconv.geometry import number, spatial
from fastconv.layers import BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, Layer, Linear, MaxPool2d, ReLU, Residual, Sequential


def small_cnn(in_channels: int = 1, size: int | tuple[int, int] = 8, classes: int = 10) -> Sequential:
    """Three 3x3 convolutions of 16, 32 and 32 channels, a 2x2 max pooling, dropout, one linear layer: for the embedded digits."""
    return Sequential(
        Conv2d(in_channels, 16, 3, padding=1),
        ReLU(),
        Conv2d(16, 32, 3, padding=1),
        ReLU(),
        MaxPool2d(2),
        Conv2d(32, 32, 3, padding=1),
        ReLU(),
        *_classifier("small_cnn", size, 1, 32, Dropout(0.5), classes=classes),
    )


def lenet5(in_channels: int = 1, size: int | tuple[int, int] = 28, classes: int = 10) -> Sequential:
    """LeCun et al. 1998, "Gradient-based learning applied to document recognition", with ReLU and max pooling, as it is taught today."""
    H, W = (extent // 2 for extent in spatial("lenet5", "size", size, 2))
    H, W = (H - 4) // 2, (W - 4) // 2
    _at_least("lenet5", size, min(H, W))
    return Sequential(
        *(Conv2d(in_channels, 6, 5, padding=2), ReLU(), MaxPool2d(2)),
        *(Conv2d(6, 16, 5), ReLU(), MaxPool2d(2)),
        Flatten(),
        *(Linear(16 * H * W, 120), ReLU(), Linear(120, 84), ReLU(), Linear(84, classes)),
    )


def keras_mnist(in_channels: int = 1, size: int | tuple[int, int] = 28, classes: int = 10) -> Sequential:
    """The net of Keras' "Simple MNIST convnet" example (F. Chollet 2015)."""
    H, W = (((extent - 2) // 2 - 2) // 2 for extent in spatial("keras_mnist", "size", size, 2))
    _at_least("keras_mnist", size, min(H, W))
    return Sequential(
        *(Conv2d(in_channels, 32, 3), ReLU(), MaxPool2d(2)),
        *(Conv2d(32, 64, 3), ReLU(), MaxPool2d(2)),
        *(Flatten(), Dropout(0.5), Linear(64 * H * W, classes)),
    )


def vgg_small(in_channels: int = 3, size: int | tuple[int, int] = 32, classes: int = 10) -> Sequential:
    """Two 3x3 convolutions, then a 2x2 max pooling, three times, 32 to 128 channels: after Simonyan and Zisserman 2014, with BatchNorm."""
    body = []
    for channels in (32, 64, 128):
        body += [*_conv(in_channels, channels, 3), ReLU(), *_conv(channels, channels, 3), ReLU(), MaxPool2d(2)]
        in_channels = channels
    return Sequential(*body, *_classifier("vgg_small", size, 3, in_channels, classes=classes))


def resnet8(in_channels: int = 3, size: int | tuple[int, int] = 32, classes: int = 10) -> Sequential:
    """`resnet20` with one block of two convolutions a stage."""
    return _resnet("resnet8", 1, in_channels, size, classes)


def resnet20(in_channels: int = 3, size: int | tuple[int, int] = 32, classes: int = 10) -> Sequential:
    """He et al. 2015, "Deep residual learning": the net for CIFAR, with 1x1 convolutions where a shortcut changes its shape. Images of any size."""
    return _resnet("resnet20", 3, in_channels, size, classes)


def _resnet(name: str, blocks: int, in_channels: int, size, classes: int) -> Sequential:
    spatial(name, "size", size, 2)
    body: list[Layer] = [*_conv(in_channels, 16, 3), ReLU()]
    in_channels = 16
    for channels in (16, 32, 64):
        for block in range(blocks):
            stride = 2 if block == 0 and channels > 16 else 1
            branch = Sequential(*_conv(in_channels, channels, 3, stride), ReLU(), *_conv(channels, channels, 3))
            shortcut = None if in_channels == channels else Sequential(*_conv(in_channels, channels, 1, stride))
            body += [Residual(branch, shortcut), ReLU()]
            in_channels = channels
    return Sequential(*body, GlobalAvgPool2d(), Flatten(), Linear(in_channels, classes))


def mobilenet_v1(in_channels: int = 3, size: int | tuple[int, int] = 32, classes: int = 10, width: float = 1.0) -> Sequential:
    """Howard et al. 2017: depthwise 3x3 and pointwise 1x1 convolutions in turn; for small images without its first stride. Images of any size."""

    spatial("mobilenet_v1", "size", size, 2)
    width = number("mobilenet_v1", "width", width)

    def wide(channels: int) -> int:
        return max(8, round(channels * width))

    body = [*_conv(in_channels, wide(32), 3), ReLU()]
    before = wide(32)
    for channels, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1)):
        body += _separable(before, wide(channels), stride)
        before = wide(channels)
    return Sequential(*body, GlobalAvgPool2d(), Flatten(), Linear(before, classes))


def ds_cnn(in_channels: int = 1, size: int | tuple[int, int] = (49, 10), classes: int = 12) -> Sequential:
    """Zhang et al. 2017, "Hello Edge": keyword spotting on 49 frames of 10 coefficients; the small depthwise separable net. Images of any size."""
    spatial("ds_cnn", "size", size, 2)
    body = [Conv2d(in_channels, 64, (10, 4), stride=2, padding=((5, 5), (1, 1)), bias=False), BatchNorm2d(64), ReLU()]
    for _ in range(4):
        body += _separable(64, 64, 1)
    return Sequential(*body, GlobalAvgPool2d(), Flatten(), Linear(64, classes))


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> tuple[Layer, Layer]:
    """BatchNorm's bias stands for the convolution's."""
    conv = Conv2d(in_channels, channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return conv, BatchNorm2d(channels)


def _separable(in_channels: int, channels: int, stride: int) -> list[Layer]:
    return [*_conv(in_channels, in_channels, 3, stride, groups=in_channels), ReLU(), *_conv(in_channels, channels, 1), ReLU()]


def _classifier(name: str, size, halvings: int, channels: int, *before: Layer, classes: int) -> tuple[Layer, ...]:
    H, W = (extent >> halvings for extent in spatial(name, "size", size, 2))
    _at_least(name, size, min(H, W))
    return Flatten(), *before, Linear(channels * H * W, classes)


def _at_least(name: str, size, left: int) -> None:
    if left < 1:
        raise ValueError(f"{name}: images of size {size} are too small, nothing is left of them")


MODELS = {
    "small_cnn": small_cnn,
    "lenet5": lenet5,
    "keras_mnist": keras_mnist,
    "vgg_small": vgg_small,
    "resnet8": resnet8,
    "resnet20": resnet20,
    "mobilenet_v1": mobilenet_v1,
    "ds_cnn": ds_cnn,
}
