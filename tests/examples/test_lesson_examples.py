"""The examples that do a lesson's arithmetic by hand: the same inputs, the same numbers as the lesson, all of them printed."""

import re
import runpy
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import explain, ops
from fastconv.lessons import LESSONS, dense, fewer_products, input_gradient, max_pool, shared_weights, two_gradients, whole_net

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOPICS = [pytest.param(topic, id=topic) for topic in LESSONS]


def path(topic):
    return EXAMPLES / f"{topic.replace('-', '_')}.py"


@cache
def run(topic):
    """The example's variables, and what it printed; each runs once for all tests here."""
    with redirect_stdout(StringIO()) as out:
        names = runpy.run_path(str(path(topic)), run_name="__main__")
    return names, out.getvalue()


@pytest.fixture(autouse=True)
def textbook():
    """The textbook's loops compile nothing."""
    with fc.algorithm("reference"):
        yield


def same(found, expected):
    """Of one shape, and alike up to the order of summation: to 1e-12 of the largest entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def prints(text, *expected):
    """Arrays as NumPy writes them, anything else as str does."""
    for words in map(str, expected):
        assert words in text, words


@pytest.mark.parametrize("topic", TOPICS)
def test_every_lesson_has_an_example_that_fits_on_a_page_and_names_it(topic):
    lines = path(topic).read_text("utf-8").splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 110
    assert f"    python examples/{path(topic).name}" in lines
    assert any(line.split("        ")[0] == f"    python -m fastconv explain {topic}" for line in lines), lines[:9]


@pytest.mark.parametrize("topic", TOPICS)
def test_every_difference_that_is_printed_is_one_of_rounding(topic):
    _, text = run(topic)
    differences = re.findall(r": largest difference (\S+)$", text, re.MULTILINE)
    assert differences
    assert len(differences) == text.count("largest difference")
    assert max(map(float, differences)) <= 1e-12


def test_two_gradients():
    names, text = run("two-gradients")
    for name, constant in {"x": two_gradients.X, "w": two_gradients.W, "dy": two_gradients.DY, "lr": two_gradients.LR}.items():
        np.testing.assert_array_equal(names[name], constant)
    conv, x, w, dy = two_gradients.layer(), two_gradients.X[None, None], two_gradients.W, two_gradients.DY[None, None]
    dw = np.array([[explain.weight_terms(conv, x, dy, (0, 0, kh, kw)).total for kw in range(2)] for kh in range(2)])
    dx = np.array([[explain.input_terms(conv, x, dy, (0, 0, ih, iw)).total for iw in range(3)] for ih in range(3)])
    new_w = w - two_gradients.LR * dw
    losses = [two_gradients.loss(each) for each in (w, new_w, w - two_gradients.LR * dx.sum())]
    same(names["y"], ops.conv2d(x, w[None, None])[0, 0])
    same(names["dw"], dw)
    same(names["dx"], dx)
    same(names["new_w"], new_w)
    same(names["losses"], losses)
    same(names["measured"].ravel(), [two_gradients.slope(cell) for cell in two_gradients.CELLS])
    prints(text, dw, dx, new_w, *(f"{loss:.3f}" for loss in losses))


def test_shared_weights():
    names, text = run("shared-weights")
    x, lr = shared_weights.images()[:1], shared_weights.LR
    np.testing.assert_array_equal(names["x"], x[0, 0])
    np.testing.assert_array_equal(names["sobel"], shared_weights.SOBEL)
    assert names["lr"] == lr
    loss, dy = shared_weights.loss(x, np.zeros((1, 1, 3, 3)))
    parts = shared_weights.contributions(x, dy)
    same(names["loss_before"], loss)
    same(names["dy"], dy[0, 0])
    same(names["parts"].reshape(3, 3, 900), parts)
    same(names["dw"], parts.sum(axis=2))
    same(names["by_sum"], -lr * parts.sum(axis=2))
    same(names["by_average"], -900 * lr * parts.mean(axis=2))
    same(names["copies"].ravel(), -900 * lr * parts[0, 2])
    for (kh, kw), total in np.ndenumerate(parts.sum(axis=2)):
        prints(text, f"dw[{kh},{kw}] = {total:.2f}, the sum of 900 from {parts[kh, kw].min():.2f} to {parts[kh, kw].max():.2f}\n")
    prints(text, f"{names['copies'].min():.2f} to {names['copies'].max():.2f}, their mean {-lr * parts[0, 2].sum():.4f}\n")


def test_shared_weights_after_all_updates():
    """The loss is quadratic, so each update shrinks the distance to Sobel's filter by one and the same matrix."""
    names, text = run("shared-weights")
    x, sobel = shared_weights.images()[0, 0], shared_weights.SOBEL.ravel()
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3)).reshape(900, 9)
    shrink = np.linalg.matrix_power(np.eye(9) - shared_weights.LR * patches.T @ patches, shared_weights.UPDATES)
    np.testing.assert_allclose(names["w"].ravel(), sobel - shrink @ sobel, rtol=0, atol=1e-11)
    loss = ((patches @ shrink @ sobel) ** 2).sum() / 2
    prints(text, f"{shared_weights.UPDATES} updates: loss from {names['loss_before']:.1f} to {loss:.2g}; the filter\n{names['w'].round(3) + 0}\n")


def test_dense():
    names, text = run("dense")
    for name, constant in {"x": dense.X, "w": dense.W, "dy": dense.DY}.items():
        np.testing.assert_array_equal(names[name], constant)
    conv, x, dy = dense.layer(), dense.X[None, None], dense.DY[None, None]
    matrix, where = explain.as_dense_matrix(conv, x.shape), explain.ties(conv, x.shape)
    dm = np.outer(dy.ravel(), x.ravel())
    same(names["M"], matrix)
    same(names["number"], where + 1)
    same(names["dM"], dm)
    same(names["y"].ravel(), matrix @ dense.X.ravel())
    same(names["dw"], explain.fold(dm, where, (3, 3)))
    same(names["dx"].ravel(), matrix.T @ dense.DY.ravel())
    for image, answer in (("image", "map_"), ("shifted", "shifted_map")):
        same(names[answer], ops.conv2d(names[image][None, None], dense.W[None, None])[0, 0])
    assert not np.array_equal(names["order"], np.arange(16))
    prints(text, f"{dense.letters(where)}\n", f"{where.size} entries, {(where >= 0).sum()} not forced to be 0: {where.max() + 1} numbers")
    prints(text, matrix, names["y"], names["dM"], f"= {dm[where == 0].sum():g}\n", names["dw"], names["dx"], names["map_"], names["shifted_map"])


def test_input_gradient():
    names, text = run("input-gradient")
    w, dy = input_gradient.W, input_gradient.DY
    np.testing.assert_array_equal(names["w"], w)
    np.testing.assert_array_equal(names["dy"], dy)
    conv, x = input_gradient.layer(), np.zeros((1, 1, input_gradient.SIZE, input_gradient.SIZE))
    maps = [input_gradient.scattered(dy[oc], w[oc]) for oc in range(2)]
    same(names["maps"], maps)
    same(names["dx"], sum(maps))
    same([names["collect"](dy[oc], w[oc]) for oc in range(2)], maps)
    terms = explain.input_terms(conv, x, dy[None], (0, 0, *input_gradient.PIXEL))
    same([a * b for a, b in names["terms"]], terms.products)
    same(sum(a * b for a, b in names["terms"]), names["dx"][input_gradient.PIXEL])
    variants = {(words.get("stride", 1), words.get("padding", 0)): words for words in input_gradient.VARIANTS.values()}
    assert names["counts"].keys() == variants.keys()
    for (stride, padding), words in variants.items():
        grid = input_gradient.counts(**words)
        same(names["counts"][stride, padding], grid)
        prints(text, f"stride {stride}, padding {padding}: in how many positions each pixel takes part\n{grid}\n")
    prints(text, *maps, sum(maps), f"= {terms.total:g}\n")


def test_max_pool():
    names, text = run("max-pool")
    for name, constant in {"window": max_pool.WINDOW, "x": max_pool.X, "dy": max_pool.DY}.items():
        np.testing.assert_array_equal(names[name], constant)
    y, argmax = max_pool.pool(max_pool.X)
    dx = ops.max_pool2d_grad(max_pool.DY[None, None], argmax[None, None], (1, 1, 4, 4), 2)[0, 0]
    same(names["y"], y)
    same(names["dx"], dx)
    same(names["mask"], dx != 0)
    same(names["by_max"], max_pool.slopes(np.max, max_pool.WINDOW))
    same(names["by_mean"], max_pool.slopes(np.mean, max_pool.WINDOW))
    paths = {"maximum only": max_pool.descend(max_pool.right_rule), "even shares": max_pool.descend(max_pool.even_rule)}
    assert names["paths"].keys() == paths.keys()
    for name, path in paths.items():
        same(names["paths"][name], path)
        prints(text, f"{name}, after 4 updates\n{path[4].round(2)}\nafter {max_pool.UPDATES}\n{path[-1].round(2)}\n")
    prints(text, y, names["mask"].astype(int), max_pool.DY, names["dx"])


def test_max_pool_has_two_slopes_at_a_tie():
    names, _ = run("max-pool")
    np.testing.assert_array_equal(names["tie"] == names["tie"].max(), [[True, True], [False, False]])
    np.testing.assert_allclose(names["rising"], [[1, 1], [0, 0]], atol=1e-9)
    np.testing.assert_array_equal(names["falling"], 0)


def test_whole_net():
    names, text = run("whole-net")
    layers, (x, labels) = whole_net.net(), whole_net.batch()
    activations, ways_back = whole_net.forward(layers, x)
    loss, d_scores = fc.losses.cross_entropy(activations[-1], labels)
    errors = whole_net.backward(ways_back, d_scores)
    kept = [i for i, name in enumerate(("image", *whole_net.kinds(layers))) if name != "ReLU 2"]  # Flatten's are the same numbers
    assert len(kept) == len(names["stations"])
    for i, (activation, error) in zip(kept, names["stations"]):
        same(activation, activations[i])
        same(error, errors[i])
        prints(text, f" norm {whole_net.norm(activations[i]):>8}, of its gradient {whole_net.norm(errors[i])}\n")
    parameters = [p for layer in layers for p in layer.parameters()]
    for start, gradient, after, p in zip(names["start"], names["gradients"], names["after"], parameters, strict=True):
        same(start, p.value)
        same(gradient, p.grad)
        p.value = p.value - whole_net.LR * p.grad
        same(after, p.value)
    same(names["loss_before"], loss)
    prints(text, f": {' '.join(whole_net.norm(p.grad) for p in parameters)}\n", *(names[kind][0][0, 0].round(4) for kind in ("start", "after")))
    prints(text, f"loss before {loss:.4f}, after {whole_net.loss_of(layers, x, labels):.4f}\n")


def test_fewer_products():
    names, text = run("fewer-products")
    for name, constant in {"d": fewer_products.D, "w": fewer_products.W, "dy": fewer_products.DY}.items():
        np.testing.assert_array_equal(names[name], constant)
    for name, matrix in zip(("AT", "G", "BT"), fewer_products.matrices()):
        same(names[name], matrix)
    same(names["y"], fewer_products.sliding(fewer_products.D, fewer_products.W))
    same(names["AT"] @ names["six"], names["y"])
    same(names["by_six"], names["dw"])
    prints(text, names["y"], names["dw"], 36 * 64, 144 * 64)
