"""The report of `python -m bench`: shapes, statistics, texts, and a whole run against NumPy."""

import re
from itertools import product

import numpy as np
import pytest

import bench.__main__ as command
from bench import report, timing
from bench.layer import PASSES, error, exact, parse, read
from bench.peers import Im2col, Ours
from bench.rows import CompileTimes, FirstCalls, Row, WrongResult, check
from bench.timing import Pairs
from bench.worker import Worker

pytestmark = pytest.mark.slow

LINES = ["2 3 9 8 3 2 1", "2 8 9 8 3 1 2 groups=4 dilation=2", "2 4 17 6 3 2 1 rank=1", "1 2 5 3 3 1 1 rank=3 dtype=float64"]
TRANSPOSED = "2 6 5 8 3 2 1 groups=2 transposed=1"
MACHINE = report.Machine("Some CPU", "16 float32", 2, ["fastconv 0", "PyTorch 9"], {1: 100.0, 2: 190.0})


def row(line: str, name: str, ratio: float) -> Row:
    pairs = {peer: Pairs((100.0, 90.0, 110.0), (100 / r, 90 / r, 110 / r)) for peer, r in (("nchw", ratio), ("channels_last", 2.0), ("peak", 0.5))}
    return Row(parse(line), name, "direct", pairs, {"ours": 1_500_000, "nchw": None})


def test_a_file_of_shapes(tmp_path):
    file = tmp_path / "some.txt"
    file.write_text("# a comment\n\n 2  3 9 8 3 2 1  # behind a layer\n2 3 9 8 3 2 1\n2 8 9 8 3 1 2 groups=4 dilation=2 rank=1 dtype=float64\n")
    plain, odd = read(file)
    assert (plain.line, plain.g.output_shape, plain.dtype) == ("2 3 9 8 3 2 1", (2, 8, 5, 5), np.float32)
    assert odd.words == {"stride": 1, "padding": 2, "dilation": 2, "groups": 4}
    assert (odd.g.weight_shape, odd.dtype) == ((8, 2, 3), np.float64)


@pytest.mark.parametrize(
    "end", ["3 2", "3 2 1 1", "3 2 x", "3 2 1 groups=5", "3 2 1 group=3", "3 2 1 dtype=int8", "3 2 1 groups=3 1", "3 2 1 transposed=2"]
)
def test_a_line_that_is_no_layer_is_named(tmp_path, end):
    (tmp_path / "bad.txt").write_text(f"# first\n2 3 9 8 {end}\n")
    with pytest.raises(ValueError, match=rf"^bad\.txt:2: expected n ic ih oc k s p .*got '2 3 9 8 {end}'"):
        read(tmp_path / "bad.txt")


@pytest.mark.parametrize(("kind", "line"), [*product((Ours, Im2col), LINES), (Ours, TRANSPOSED)])
def test_those_who_compute_agree_with_the_sum_over_taps(kind, line):
    layer, peer = parse(line), kind(1)
    right = exact(layer)
    for name, call in peer.calls(layer).items():
        assert error(peer.arrays(call()), right[name]) < 1e-6


def test_ratios_are_medians_over_pairs_and_noise_is_measured_again():
    pairs = Pairs((10.0, 20.0, 60.0), (5.0, 10.0, 20.0))
    assert (pairs.ratio, pairs.rate, pairs.spread) == (2, 10, 0.25)
    rates = iter([1, 1, 9, 1, 5, 1, *[4, 2] * 3])
    assert timing.in_turns(lambda: next(rates), lambda: next(rates), 3) == Pairs((4, 4, 4), (2, 2, 2))
    assert timing.geometric_mean([1, 4]) == pytest.approx(2)


def test_the_report_holds_every_row_and_marks_those_that_lose():
    rows = [row(LINES[0], "forward", 1.5), row(LINES[0], "input_grad", 0.8), row(LINES[1], "forward", 3.0)]
    text = report.markdown("some", MACHINE, rows, CompileTimes([FirstCalls("forward", 8.0, 0.5, 0.003)], 31.4), "some.svg")
    assert "| 2 3 9 8 3 2 1 | input gradient | direct | 100 | 50% | 125 | 50 | **0.80 ▼** | 0% |" in text
    assert "| 2 8 9 8 3 1 2 groups=4 dilation=2 | forward | direct | 100 | 50% | 33 | 50 | 2.00 | 0% |" in text  # the better layout counts
    assert "Slower than PyTorch: 2 3 9 8 3 2 1, input gradient (0.80)." in text
    assert "| forward | 2.12 | 2.00 | 1.73 | 1.50 | 0 of 2 | 50% |" in text
    assert "| forward | 8.0 s | 0.50 s | 3.0 ms |" in text
    assert "every tile and pass: 31 s." in text
    assert "| 2 3 9 8 3 2 1 | forward | 1.5 | – |" in text


def test_the_summary_goes_between_the_markers_of_the_readme():
    content = report.summary(MACHINE, {"some": [row(LINES[0], "forward", 1.5), row(LINES[1], "forward", 0.5)]})
    assert "| some: forward | 0.87 | 0.50 to 1.50 | 1 of 2 | 50% |" in content
    begin, end = report.MARKERS
    assert report.between_markers(f"a\n{begin}\nold\n{end}\nb", content) == f"a\n{begin}\n{content}\n{end}\nb"
    assert report.between_markers(command.README.read_text("utf-8"), content).count(content) == 1
    with pytest.raises(ValueError, match="expected one"):
        report.between_markers(f"{end} {begin}", content)


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    report.draw(tmp_path / "some.svg", [row(line, name, 1.5) for line in LINES for name in PASSES])
    assert b"</svg>" in (tmp_path / "some.svg").read_bytes()


def test_a_whole_run_against_numpy(tmp_path, capsys):
    (tmp_path / "tiny.txt").write_text("2 3 9 8 3 1 1\n")
    words = ["--quick", "--shapes", str(tmp_path / "tiny.txt"), "--peers", "im2col", "--passes", "forward", "--threads", "1", "--repeats", "1"]
    assert command.main(words) == 0
    assert re.search(r"2 3 9 8 3 1 1 +forward +\d+ GFLOP/s +\d+% of peak +im2col \d+", capsys.readouterr().out)


def test_wrong_results_are_not_timed(monkeypatch):
    monkeypatch.setattr("bench.rows.exact", lambda layer: {"forward": (np.ones(layer.g.output_shape),)})
    with Worker("im2col", 1) as worker, pytest.raises(WrongResult, match="2 3 9 8 3 2 1, forward: the result of im2col is off by"):
        check(parse(LINES[0]), ["forward"], {"im2col": worker})
