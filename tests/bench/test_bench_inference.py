"""The report of `python -m bench.inference`: everybody answers alike, the text, and a short run."""

import numpy as np
import pytest

from bench import inference, report
from bench.inference import Answers
from bench.net import NETS, settled
from bench.rows import WrongResult
from bench.timing import Pairs
from bench.worker import Worker
from fastconv import layers

pytestmark = pytest.mark.slow


def answers(name, threads, ratio):
    rates = {peer: Pairs((10.0, 9.0, 11.0), (10 / r, 9 / r, 11 / r)) for peer, r in zip(inference.PEERS, (4.0, 3.0, 2.0, ratio))}
    return Answers(NETS[name].with_images(1), threads, rates)


@pytest.mark.parametrize("name", inference.SHOWN)
def test_a_graph_of_onnx_gives_what_the_model_gives(name):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from bench.onnx_nets import as_onnx

    net = NETS[name].with_images(1)
    model, x = settled(net.model()), net.images()[0]
    session = runtime.InferenceSession(as_onnx(model, x.shape), providers=["CPUExecutionProvider"])
    found, expected = session.run(None, {"x": x})[0], model(x)
    assert np.linalg.norm(found - expected) <= inference.AGREE * np.linalg.norm(expected)


def test_layers_that_no_net_has_are_refused():
    pytest.importorskip("onnx")
    from bench.onnx_nets import as_onnx

    with pytest.raises(TypeError, match=r"as_onnx: no nodes for Tanh\(\)"):
        as_onnx(layers.Tanh(), (1, 3))


def test_the_report_holds_every_net_and_marks_those_that_lose():
    machine = report.Machine("Some CPU", "16 float32", 2, ["fastconv 0", "PyTorch 9"], {2: 190.0})
    text = inference.markdown(machine, [answers("digits", 1, 2.0), answers("digits", 2, 0.5), answers("lenet5", 2, 2.0)])
    assert "| digits | 1 | 17 | 67 | 51 | 34 | 34 | 2.00 | 2.00 | 0% |" in text  # 0.17 MFLOP at 10 GFLOP/s
    assert "| digits | 2 | 17 | 67 | 51 | 34 | 8 | 2.00 | **0.50 ▼** | 0% |" in text
    assert "| geometric mean | 2 |  |  |  |  |  |  | 1.00 |  |" in text


def test_answers_agree_and_those_that_do_not_are_not_timed(monkeypatch):
    for module in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(module)
    monkeypatch.setattr(inference, "PEERS", ["channels_last-infer", "onnx-infer"])
    net = NETS["digits"].with_images(1)
    with Worker("compiled-infer", 1) as ours, Worker("channels_last-infer", 1) as torch, Worker("onnx-infer", 1) as onnx:
        workers = {worker.peer: worker for worker in (ours, torch, onnx)}
        inference.check(net, workers)
        found = inference.measure(net, 1, workers, 1)
        assert found.against["onnx-infer"].rate > 0
        monkeypatch.setattr(inference, "AGREE", 0)
        with pytest.raises(WrongResult, match=r"digits: the answer of fc.compile is .* from that of ONNX Runtime"):
            inference.check(net, workers)


def test_wrong_words(capsys):
    for module in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(module)
    for words, message in ((["--threads", "0"], "--threads: from 1 to"), (["--repeats", "0"], "--repeats: at least 1")):
        with pytest.raises(SystemExit):
            inference.main(words)
        assert message in capsys.readouterr().err
