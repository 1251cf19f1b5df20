"""Pictures of what a model looks at: red where the map is large."""

import numpy as np
import pytest

from fastconv import plot

RED = np.array([0.753, 0.314, 0.302])


def draw(x, maps, **words):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, ax = pyplot.subplots()
    try:
        plot.saliency(x, maps, ax=ax, **words)
        figure.canvas.draw()
        (mesh,) = ax.collections[:1]
        return np.asarray(mesh.get_array()).reshape(-1, 3), [text.get_text() for text in ax.texts]
    finally:
        pyplot.close(figure)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_largest_value_of_each_map_is_red(channels):
    x, maps = np.zeros((2, channels, 3, 3), np.float32), np.zeros((2, 3, 3), np.float32)
    maps[0, 1, 2], maps[1] = 5, 1e-3
    pixels, texts = draw(x, maps, labels=["cat", "dog"])
    red = np.isclose(pixels, RED, atol=0.01).all(axis=1)
    assert red.sum() == 1 + 9
    assert texts == ["cat", "", "dog", ""]
    assert draw(x, 0 * maps)[1] == ["0", "", "1", ""]


def test_shapes_are_told():
    x, maps = np.zeros((2, 1, 3, 3)), np.zeros((2, 3, 3))
    for args, words in (((x[:, 0], maps), {}), ((x, maps[:1]), {}), ((x[:, [0, 0]], maps), {})):
        with pytest.raises(ValueError, match=r"saliency: x must be \(N, 1, H, W\) or \(N, 3, H, W\) and maps \(N, H, W\), got x"):
            plot.saliency(*args, **words)
    with pytest.raises(ValueError, match=r"saliency: labels must be 2, one for each image, got \['a'\]"):
        plot.saliency(x, maps, labels=["a"])
