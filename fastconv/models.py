"""Named nets, a few lines each."""

from fastconv.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential


def small_cnn(in_channels: int = 1, size: int = 8, classes: int = 10) -> Sequential:
    """Three 3x3 convolutions of 16, 32 and 32 channels, a 2x2 max pooling, dropout, one linear layer. x: (N, in_channels, size, size)."""
    return Sequential(
        Conv2d(in_channels, 16, 3, padding=1),
        ReLU(),
        Conv2d(16, 32, 3, padding=1),
        ReLU(),
        MaxPool2d(2),
        Conv2d(32, 32, 3, padding=1),
        ReLU(),
        Flatten(),
        Dropout(0.5),
        Linear(32 * (size // 2) ** 2, classes),
    )


MODELS = {"small_cnn": small_cnn}
