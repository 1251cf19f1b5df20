"""The lessons: what they claim holds for any numbers, and the command and the web page show all of it."""

import base64
import functools
import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from geometries import integers

import fastconv as fc
from fastconv import ops
from fastconv.cli import READER_LEFT, main
from fastconv.explain import fold, input_terms, ties, weight_terms
from fastconv.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from fastconv.lessons import LESSONS, dense, fewer_products, input_gradient, max_pool, shared_weights, tied_net, two_gradients, whole_net
from fastconv.lessons.blocks import Board, Check, Picture, Text, same
from fastconv.losses import cross_entropy

TOPICS, F64, SIZE = list(LESSONS), {"dtype": np.float64}, input_gradient.SIZE
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--hide-scrollbars"]
QUIET += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0"]
each, equal = pytest.mark.parametrize, np.testing.assert_array_equal


@pytest.fixture(scope="module", autouse=True)
def told():
    """The blocks of every lesson, computed once; the command repeats these, and what was trained for them is not trained again."""
    with pytest.MonkeyPatch.context() as patch, fc.algorithm("reference"):
        patch.setattr(dense, "prior", functools.cache(dense.prior))
        patch.setattr(max_pool, "nets", functools.cache(max_pool.nets))
        blocks = {topic: list(lesson.blocks()) for topic, lesson in LESSONS.items()}
        for topic, lesson in LESSONS.items():
            patch.setitem(LESSONS, topic, lesson._replace(blocks=functools.partial(iter, blocks[topic])))
        yield blocks


def of_kind(kind, *lessons):
    return [block for blocks in lessons for block in blocks if isinstance(block, kind)]


@each("topic", TOPICS)
def test_a_lesson_is_checked_and_its_words_are_ascii_in_lines_that_fit(told, topic):
    lesson, blocks = LESSONS[topic], told[topic]
    assert len(of_kind(Check, blocks)) >= 2
    words = [field for part in (lesson, *blocks) for field in part if isinstance(field, str)]
    unsigned = re.compile(r"(?<![\w.])-0(\.0*)?(?![.\de])")  # what rounds to 0 has no sign
    assert [text for text in words if not text.strip() or not text.isascii() or text.count("`") % 2 or unsigned.search(text)] == []
    assert [line for board in of_kind(Board, blocks) for line in board.lines.splitlines() if len(line) > 100] == []


def test_a_claim_that_does_not_hold_is_an_error():
    assert same("close", [1, 4], [1, 4.5], 0.2) == Check("close", 0.5)
    for one, other in (([1], [2]), ([1], [np.nan]), ([np.nan],) * 2, ([1, 1], [1, 1, 1]), ([1], 1), ([[1]], [[1], [1]]), ([np.inf], [3])):
        for pair in ((one, other), (other, one)):
            with pytest.raises(ArithmeticError, match="the claim does not hold: one is the other"):
                same("one is the other", *pair)


@each("kernel", [(1, 1), (2, 2), (2, 3), (3, 3), (4, 1), (5, 5)], ids=str)
def test_two_gradients_each_in_many_ways(kernel):
    rng, conv = np.random.default_rng(kernel), Conv2d(1, 1, kernel, bias=False, **F64)
    x, conv.weight.value = integers(rng, (1, 1, SIZE, SIZE), np.float64), integers(rng, (1, 1, *kernel), np.float64)
    w, dy = conv.weight.value, integers(rng, conv.output_shape(x.shape), np.float64)
    dw, dx = ops.conv2d_weight_grad(x, dy, kernel), ops.conv2d_input_grad(dy, w, x.shape)
    assert [weight_terms(conv, x, dy, index).total for index in np.ndindex(w.shape)] == list(dw.ravel())
    assert [input_terms(conv, x, dy, index).total for index in np.ndindex(x.shape)] == list(dx.ravel())
    equal(ops.conv2d(x, dy), dw)  # dy slides over x
    equal(input_gradient.scattered(dy[0, 0], w[0, 0]), dx[0, 0])
    equal(input_gradient.collected(dy[0, 0], w[0, 0]), dx[0, 0])


@each(("stride", "padding"), [(stride, padding) for stride in (1, 2, 3, 4) for padding in (0, 1, 2)])
def test_padding_narrows_the_border_and_stride_spreads_dy(stride, padding):
    rng, shape, words = np.random.default_rng(stride), (1, 1, SIZE, SIZE), {"stride": stride, "padding": padding}
    w = integers(rng, (1, 1, 3, 3), np.float64)
    dy = integers(rng, ops.conv2d(np.zeros(shape), w, **words).shape, np.float64)
    spread = np.zeros((1, 1, SIZE + 2, SIZE + 2))
    spread[:, :, 2 - padding :: stride, 2 - padding :: stride][:, :, : dy.shape[2], : dy.shape[3]] = dy
    equal(ops.conv2d(spread, w[:, :, ::-1, ::-1].copy()), ops.conv2d_input_grad(dy, w, shape, **words))
    equal(input_gradient.counts(**words), ops.conv2d_input_grad(np.ones_like(dy), np.ones_like(w), shape, **words)[0, 0])


def test_one_filter_moves_with_the_image_and_sums_over_its_places(told):
    assert [line.split()[-1] for line in of_kind(Board, told["shared-weights"])[0].lines.splitlines()[1:]] == ["10", "922,500", "28"]
    x, w = (np.random.default_rng(3).standard_normal((1, 1, side, side)) for side in (32, 3))
    equal(ops.conv2d(np.roll(x, 1, axis=3), w)[..., 1:], ops.conv2d(x, w)[..., :-1])
    dw = shared_weights.contributions(x, shared_weights.loss(x, w)[1]).sum(axis=2)
    assert dw == pytest.approx(max_pool.slopes(lambda w: shared_weights.loss(x, w)[0], w)[0, 0], rel=1e-6)


def test_six_products_do_what_twelve_do_and_their_points_matter(told):
    rng, (AT, G, BT) = np.random.default_rng(0), fewer_products.matrices()
    d, w = rng.standard_normal(6), rng.standard_normal(3)
    assert AT @ ((G @ w) * (BT @ d)) == pytest.approx(fewer_products.sliding(d, w))
    assert [fewer_products.operations(C)[0] / sum(fewer_products.operations(C)[1:]) > 1 for C in (1, 4, 16)] == [False, False, True]
    exact, customary, ours = fewer_products.errors().values()
    assert exact < ours < customary < 3e-6


@each("seed", range(5))
def test_a_maximum_gets_all_and_a_mean_gives_shares(seed):
    rng = np.random.default_rng(seed)
    x, dy = rng.permutation(4).reshape(2, 2) + rng.uniform(-0.4, 0.4, (2, 2)), float(rng.standard_normal())
    of_maximum, of_mean = (max_pool.slopes(lambda x, f=f: dy * float(f(x)), x) for f in (np.max, np.mean))
    right, even = max_pool.right_rule(x, dy), max_pool.even_rule(x, dy)
    assert right == pytest.approx(of_maximum, abs=1e-9)
    assert even == pytest.approx(of_mean, abs=1e-9)
    assert (abs(even - of_maximum) > 0.2 * abs(dy)).all()
    windows = np.array([[[0.0, 7, 7, 1], x.ravel()]])  # of equal cells the first gets it
    equal(tied_net.to_the_largest(windows, np.array([[2.0, dy]])), [[[0, 2, 0, 0], right.ravel()]])


@each(("channels", "padding"), [(1, 0), (2, 1)])
def test_the_tied_net_is_a_convolutional_net_and_the_dense_net_folded(channels, padding):
    rng, half, images = np.random.default_rng(padding), 3 + padding, (7, channels, 8, 8)
    x, y = rng.standard_normal((7, channels * 64)), rng.integers(0, 10, 7)
    conv, linear = Conv2d(channels, 3, 3, padding=padding, bias=False, **F64), Linear(3 * half**2, 10, **F64)
    shared = ties(conv, images)
    net, wide = (tied_net.TiedNet(entries, 3, 2 * half, seed=1, fan_in=9) for entries in (shared, dense.untied(shared)))
    net.c += rng.standard_normal(10)
    conv.weight.value, linear.weight.value, linear.bias.value = net.w.reshape(conv.weight.shape), net.V, net.c
    scores, backward = Sequential(conv, ReLU(), MaxPool2d(2), Flatten(), linear).forward(x.reshape(images))
    expected, d_scores = cross_entropy(scores, y)
    backward(d_scores)
    loss, _, gradients = net.gradients(x, y)
    pairs = (loss, expected), *((found.ravel(), p.grad.ravel()) for found, p in zip(gradients, (conv.weight, linear.weight, linear.bias)))
    assert all(found == pytest.approx(wanted, rel=0, abs=1e-10) for found, wanted in pairs)
    wide.w, wide.V, wide.c = np.where(shared >= 0, net.w[shared], 0).ravel(), net.V, net.c
    assert fold(wide.gradients(x, y)[2][0].reshape(shared.shape), shared, net.w.shape) == pytest.approx(gradients[0], rel=0, abs=1e-10)
    measured = max_pool.slopes(lambda w: setattr(net, "w", w) or net.gradients(x, y)[0], net.w, 1e-6)
    assert gradients[0] == pytest.approx(measured, rel=1e-6, abs=1e-8)


def test_layer_by_layer_is_the_whole_net(told):
    layers, net, (x, y) = whole_net.net(), Sequential(*whole_net.net()), whole_net.batch()
    activations, ways_back = whole_net.forward(layers, x)
    gradients = whole_net.backward(ways_back, cross_entropy(activations[-1], y)[1])
    scores, backward = net.forward(x)
    equal(backward(cross_entropy(scores, y)[1]), gradients[0])
    parameters = [p for layer in layers for p in layer.parameters()]
    equal(np.concatenate([p.grad.ravel() for p in parameters]), np.concatenate([p.grad.ravel() for p in net.parameters()]))
    shown = " ".join(board.lines for board in of_kind(Board, told["whole-net"])).split()
    assert {*map(whole_net.norm, (*activations, *gradients, *(a for p in parameters for a in (p.value, p.grad))))} <= {*shown}


def test_the_measured_numbers_say_what_the_text_says():
    plain, shared = dense.prior()
    assert (plain.weights, shared.weights) == (64 * dense.MAPS * 36, 9 * dense.MAPS)
    close = max(abs(plain.change.mean()), plain.digits.mean() - shared.digits.mean())
    assert close < 3 < -shared.change.mean() > shared.change.std()  # points
    (right_loss, right, zeros), (wrong_loss, wrong, _) = max_pool.nets().values()
    assert (right_loss < wrong_loss, right > wrong, zeros) == (True, True, 0.75)
    by_right, by_even = ([int(x.argmax()) for x in max_pool.descend(rule)] for rule in (max_pool.right_rule, max_pool.even_rule))
    assert len(set(by_even)) == 1 < len(set(by_right))  # even shares never change who is the largest
    x, w, dy = two_gradients.X, two_gradients.W, two_gradients.DY[None, None]
    dw, dx = ops.conv2d_weight_grad(x[None, None], dy, 2)[0, 0], ops.conv2d_input_grad(dy, w[None, None], (1, 1, *x.shape))
    assert two_gradients.loss(w - two_gradients.LR * dw) < two_gradients.loss(w) < two_gradients.loss(w - two_gradients.LR * dx.sum())


def explain(*words) -> int:
    try:
        return main(["explain", *map(str, words)])
    except SystemExit as stop:  # argparse's way out
        return stop.code


def test_the_command_lists_the_topics_and_tells_each(told, capsys):
    assert explain() == 0
    lines = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert [line.split(None, 1) for line in lines] == [[topic, lesson.title] for topic, lesson in LESSONS.items()]
    for topic, lesson in LESSONS.items():
        assert explain(topic) == 0
        plain = " ".join(capsys.readouterr().out.split())
        shown = [f"Question: {lesson.question}", f"In short: {lesson.answer}", *(board.lines for board in of_kind(Board, told[topic]))]
        shown += [part for text in of_kind(Text, told[topic]) for part in text.paragraphs()]
        assert [words for words in shown if " ".join(words.split()) not in plain] == []
        assert plain.count("checked: ") == len(of_kind(Check, told[topic]))


def test_figures_are_png_files(told, tmp_path, capsys):
    image = pytest.importorskip("matplotlib.image")
    assert explain("--figures", tmp_path / "a" / "b") == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(paths) == sorted((tmp_path / "a" / "b").iterdir())
    assert [path.name for path in paths] == [f"{topic}-{picture.name}.png" for topic in TOPICS for picture in of_kind(Picture, told[topic])]
    assert all(len(np.unique(image.imread(path)[::3, ::3].reshape(-1, 4), axis=0)) > 5 for path in paths)


@each("words", ["nonsense", "--figures new --html new", "--html nowhere/new", "--html file/new", "--html .", "--figures file"])
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(words, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept")
    assert explain(*words.split(), *TOPICS[: words.startswith("--")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert words.split()[-1].split("/")[0] in line or "not allowed with" in line
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for option in ("--html", "--figures"):
        assert explain(option, "new") == 2
        assert capsys.readouterr() == ("", 'fastconv: error: pictures need matplotlib: pip install "fastconv[plot]"\n')
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "kept")]


@each("words", [[], TOPICS[:1]], ids=str)
def test_a_reader_who_has_seen_enough_is_no_error(words):
    command, environment = [sys.executable, "-m", "fastconv", "explain", *words], {**os.environ, "PYTHONUNBUFFERED": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=Path(fc.__file__).parents[1], **pipes) as process:
        process.stdout.close()  # long before the first word
        assert [line for line in process.stderr if not line.startswith("compiling ")] == []
    assert process.returncode == READER_LEFT


def test_the_page_holds_every_lesson_and_needs_nothing_else(told, tmp_path):
    pytest.importorskip("matplotlib")
    assert explain("--html", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    seen = ElementTree.fromstring(re.sub(r"<((?:img|meta) [^>]*)>", r"<\1/>", text))  # whatever else is opened must be closed, in order
    plain, all_told = " ".join(" ".join(seen.itertext()).split()), told.values()
    assert [section.get("id") for section in seen.iter("section")] == [link.get("href")[1:] for link in seen.iter("a")] == TOPICS
    assert [img.get("alt") for img in seen.iter("img")] == [picture.caption for picture in of_kind(Picture, *all_told)]
    assert [board for board in of_kind(Board, *all_told) if " ".join(board.lines.split()) not in plain] == []
    assert plain.count("checked: ") == len(of_kind(Check, *all_told))
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert not re.search(r"url\(|@import|https?:|<(script|link|base|iframe|object|embed)|srcset|\son\w+=", text, re.IGNORECASE)
    for img in seen.iter("img"):
        start, _, code = img.get("src").partition(",")
        assert start == "data:image/svg+xml;base64"
        svg = ElementTree.fromstring(base64.b64decode(code, validate=True))
        assert all(v.startswith(("#", "data:")) for element in svg.iter() for name, v in element.attrib.items() if name.endswith("href"))


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_browser_shows_the_page_with_all_pictures_and_no_wider_than_the_window(told, tmp_path):
    image, count = pytest.importorskip("matplotlib.image"), len(of_kind(Picture, *told.values()))
    counted = """<script>addEventListener("load", () => { parent.document.title += [...document.images].filter(i => i.naturalWidth > 0).length
        + ` pictures, ${document.documentElement.scrollWidth} of ${innerWidth} wide;` })</script></body>"""
    page, frames = tmp_path / "page.html", tmp_path / "frames.html"
    assert explain("--html", page) == 0
    copy = html.escape(page.read_text(encoding="utf-8").replace("</body>", counted))
    sizes = [f'<iframe style="border: 0; width: {width}px; height: 2000px" srcdoc="{copy}"></iframe>' for width in (390, 1100)]  # phone, desktop
    frames.write_text("<!DOCTYPE html>" + "".join(sizes), encoding="utf-8")
    command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}"]
    views = (frames, "--dump-dom"), (page, "--window-size=1100,2000", f"--screenshot={tmp_path / 'screen.png'}")
    done = [subprocess.run([*command, *how, what.as_uri()], capture_output=True, encoding="utf-8", timeout=60) for what, *how in views]
    assert [process.returncode for process in done] == [0, 0]
    assert not re.search("ERROR:CONSOLE|Uncaught|Failed to load", "".join(process.stderr for process in done))
    assert all(f"{count} pictures, {width} of {width} wide;" in done[0].stdout.partition("</title>")[0] for width in (390, 1100))
    screen = image.imread(tmp_path / "screen.png")[::3, ::3]
    assert len(np.unique(screen.reshape(-1, screen.shape[2]), axis=0)) > 20
