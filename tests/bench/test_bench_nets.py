"""The report of `python -m bench.nets`: same weights and losses for everybody, the texts, and a short run."""

import numpy as np
import pytest

from bench import nets, report
from bench.net import NETS
from bench.nets import Fresh, Steps
from bench.rows import WrongResult
from bench.timing import Pairs
from bench.worker import Worker
from fastconv import layers
from fastconv.profiling import Profile, Row

pytestmark = pytest.mark.slow

MACHINE = report.Machine("Some CPU", "16 float32", 2, ["fastconv 0", "PyTorch 9"], {2: 190.0})


def steps(name, threads, ratio):
    rates = {peer: Pairs((100.0, 90.0, 110.0), (100 / r, 90 / r, 110 / r)) for peer, r in (("nchw-net", ratio), ("channels_last-net", 3.5))}
    return Steps(NETS[name], threads, rates, 1e-4)


@pytest.mark.parametrize("name", NETS)
def test_everybody_starts_from_the_same_weights(name):
    torch = pytest.importorskip("torch")
    from bench.net_peers import TorchNet

    net, peer = NETS[name].with_images(2), TorchNet(1)
    first, second = net.model(), net.model(dropout=False)
    for key, value in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[key], value, err_msg=key)
    assert all(layer.p == 0 for layer in second.layers if isinstance(layer, layers.Dropout))
    x, y = net.images()
    ours = getattr(nets.fc.losses, net.loss)(second.forward(x)[0], y)[0]
    with torch.enable_grad():
        assert peer.stepper(net, dropout=False)() == pytest.approx(ours, rel=1e-5)


def test_the_report_holds_every_net_and_marks_those_that_lose():
    entry = Fresh(NETS["digits"], 9.0, {"ours-net": 0.5, "nchw-net": 0.25}, {"ours-net": 1_500_000, "nchw-net": None})
    profile = Profile((Row("0", "Conv2d(1, 16)", "direct", 1e-3, None, 2e-3),), 1e-4, 2e-4, 4e-3, 32, 7e-4)
    text = nets.markdown(
        MACHINE, [steps("digits", 1, 2.0), steps("digits", 2, 0.5), steps("lenet5", 2, 2.0), steps("dqn", 1, 3.0)], [entry], {"digits": profile}
    )
    assert "| digits | 32 | 1 | 0.10 | 0.16 | 0.32 | 0.57 | 2.00 | 0% |" in text  # 16.2 MFLOP at 100 GFLOP/s
    assert "| digits | 32 | 2 | 0.10 | 0.16 | 0.08 | 0.57 | **0.50 ▼** | 0% |" in text
    assert "| geometric mean |  | 2 |  |  |  |  | 1.00 |  |" in text
    assert "| of the others |  | 1 |  |  |  |  | 3.00 |  |" in text
    assert "| digits | 9.0 s | 0.50 s | 0.25 s | – |" in text
    assert "| digits | 1.5 | – | – |" in text
    assert "a step: 8,000 images/s" in text


def test_losses_agree_and_those_that_do_not_are_not_timed(monkeypatch):
    pytest.importorskip("torch")
    with Worker("ours-net", 1) as ours, Worker("channels_last-net", 1) as theirs:
        workers = {"ours-net": ours, "channels_last-net": theirs}
        nets.check(NETS["digits"], workers)
        found = nets.measure(NETS["digits"], 1, workers, 1, nets.Limits({1: 100.0}, 1e10))
        assert found.torch is found.against["channels_last-net"]
        assert found.ours > 0
        monkeypatch.setattr(nets, "AGREE", 1e-12)
        with pytest.raises(WrongResult, match="digits: the losses of PyTorch channels_last are"):
            nets.check(NETS["digits"], workers)


def test_wrong_words(capsys):
    pytest.importorskip("torch")
    for words, message in ((["--threads", "0"], "--threads: from 1 to"), (["--repeats", "0"], "--repeats: at least 1")):
        with pytest.raises(SystemExit):
            nets.main(words)
        assert message in capsys.readouterr().err


def test_a_profile_takes_the_loss_of_its_net(monkeypatch):
    monkeypatch.setattr(nets, "profile", lambda model, x, y, loss, optimizer: loss(model(x), y)[0])
    found = nets.where(NETS["unet"].with_images(1), 1)
    assert found > 0
