"""A run that was stopped, anywhere and in any way, goes on and ends in the same bits."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import runs
from runs import Run, Stop, assert_same_state, from_call, stop

from fastconv import data, layers, losses, optim, streams
from fastconv.train import epochs

pytestmark = pytest.mark.usefixtures("one_thread", "interruptible")


def ctrl_c(number):
    """Cross entropy during whose call number `number` somebody presses Ctrl-C."""

    def loss(outputs, targets):
        loss.calls += 1
        if loss.calls == number:
            signal.raise_signal(signal.SIGINT)
        return losses.cross_entropy(outputs, targets)

    loss.calls = 0
    return loss


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:130], y[:130]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == value.dtype, name


@pytest.fixture(scope="module")
def whole(digits, one_thread):
    """The ends of a run that never stopped, for each schedule."""
    return {schedule: Run(schedule).fit(digits).ends() for schedule in ("plateau", "cosine")}


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
@pytest.mark.parametrize("calls", [1, 8, 9, 29])
def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_bits(digits, whole, tmp_path, schedule, calls):
    """7 batches and a validation an epoch: stopped in the first update, between two, in a validation, at the end."""
    path = tmp_path / "run" / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt, match=r"checkpoint\.npz holds everything up to here; fit\(.*resume=True\) goes on"):
        Run(schedule).fit(digits, loss_function=ctrl_c(calls), checkpoint=path)
    streams.seed(99)  # another process would have drawn otherwise
    assert_same(Run(schedule).fit(digits, checkpoint=path, resume=True).ends(), whole[schedule])


def test_a_run_stopped_again_and_again(digits, whole, tmp_path):
    for _ in range(40):
        try:
            run = Run().fit(digits, checkpoint=tmp_path / "c.npz", resume=True, loss_function=ctrl_c(7))
        except KeyboardInterrupt:
            continue
        return assert_same(run.ends(), whole["plateau"])
    raise AssertionError("it never came to an end")


def test_an_exception_leaves_the_checkpoint_of_the_epoch_before(digits, whole, tmp_path):
    path = tmp_path / "c.npz"
    with pytest.raises(Stop):
        Run().fit(digits, loss_function=from_call(20, stop), checkpoint=path)
    assert len(Run().fit(digits, checkpoint=path, resume=True, epochs=2).history) == 2
    assert_same(Run().fit(digits, checkpoint=path, resume=True).ends(), whole["plateau"])


def test_a_run_that_is_done_stays_as_it_is(digits, whole, tmp_path):
    path = tmp_path / "c.npz"
    for _ in range(2):
        assert_same(Run().fit(digits, checkpoint=path, resume=True).ends(), whole["plateau"])
    stopped = Run().fit(digits, checkpoint=tmp_path / "s.npz", callbacks=[lambda record: record["epoch"] == 2])
    assert_same(Run().fit(digits, checkpoint=tmp_path / "s.npz", resume=True).ends(), stopped.ends())


def test_a_checkpoint_is_not_overwritten_by_another_run(digits, tmp_path):
    path = tmp_path / "c.npz"
    Run().fit(digits, epochs=1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"fit: .*c\.npz exists: pass resume=True to go on from it, or delete it"):
        Run().fit(digits, epochs=1, checkpoint=path)
    for words, message in [
        ({"batch_size": 10}, r"made with batches Batches\(130 .* 20 at a time.*, now it is Batches\(130 .* 10 at a time"),
        ({"accumulate": 1}, "made with accumulate 2, now it is 1"),
        ({"optimizer": None, "schedule": None}, "made with schedule Plateau.* now it is OneCycle"),
    ]:
        run = Run()
        start = run.model.state_dict()
        with pytest.raises(ValueError, match=rf"fit: .*c\.npz cannot be resumed: it was {message}"):
            run.fit(digits, epochs=2, checkpoint=path, resume=True, **words)
        np.testing.assert_array_equal(run.model.state_dict()["0.weight"], start["0.weight"])
    assert path.read_bytes() == before


def spoiled(arrays):
    """A checkpoint's arrays with something wrong, and what is said of it."""
    yield {name: value for name, value in arrays.items() if name != "progress"}, "not a checkpoint of this model's training"
    yield {name: value for name, value in arrays.items() if name != "streams.default"}, "not a checkpoint"
    yield arrays | {"progress": np.frombuffer(b"{", np.uint8)}, "not a checkpoint"
    yield arrays | {"more.things": np.zeros(1)}, "not a checkpoint"
    yield arrays | {"model.0.weight": np.zeros((3, 3), np.float32)}, "nothing was loaded: 0.weight has the shape"
    yield {name: value for name, value in arrays.items() if name != "optimizer.parameters.0.mean"}, "nothing was loaded: missing parameters.0.mean"
    yield {name: value for name, value in arrays.items() if name != "best.0.weight"}, "nothing was loaded: missing 0.weight"
    yield arrays | {"schedule.steps": np.array(-1)}, "nothing was loaded: steps must be >= 0"


def test_a_damaged_checkpoint_is_named_and_changes_nothing(digits, tmp_path):
    path = tmp_path / "c.npz"
    Run().fit(digits, epochs=1, checkpoint=path)
    whole_file = path.read_bytes()
    with np.load(path) as stored:
        arrays = dict(stored)
    contents = [(whole_file[:900], "broken"), (b"", "broken"), (b"\x80\x04", "pickled"), *spoiled(arrays)]
    for content, message in contents:
        path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
        run = Run()
        state = streams.default.state()
        with pytest.raises(ValueError, match=message) as error:
            run.fit(digits, checkpoint=path, resume=True)
        assert str(path) in str(error.value)
        assert_same_state(run.model, Run().model)
        assert state[0] == streams.default.state()[0]
        assert set(run.optimizer.counts.values()) == {0}


KILLED = """
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
from runs import Run, data
(x, y), _ = data.digits()
print("ready", flush=True)
run = Run().fit((x[:130], y[:130]), checkpoint=sys.argv[2], resume=True)
np.savez(sys.argv[3], **run.ends())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX's")
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(digits, whole, tmp_path):
    """A kill at any instant leaves the old or the new file, whole; resuming gives the same bits."""
    arguments = [sys.executable, "-c", KILLED, os.path.dirname(runs.__file__), str(tmp_path / "c.npz"), str(tmp_path / "ends.npz")]
    environment = os.environ | {"NUMBA_NUM_THREADS": "1"}
    moments, path = random.Random(7), tmp_path / "c.npz"
    for attempt in range(3):
        before = path.read_bytes() if path.exists() else b""
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout.readline() == "ready\n"
            if attempt < 2:
                while process.poll() is None and (not path.exists() or path.read_bytes() == before):
                    time.sleep(0.01)
                time.sleep(moments.uniform(0, 0.1))
                process.kill()
    assert process.returncode == 0
    with np.load(tmp_path / "ends.npz") as ends:
        assert_same(dict(ends), whole["plateau"])


class Pressing(layers.Layer):
    """A layer that counts its forward passes; during number `at` somebody presses Ctrl-C."""

    def __init__(self, at):
        self.at, self.calls = at, 0

    def forward(self, x, training=True):
        self.calls += 1
        if self.calls == self.at:
            signal.raise_signal(signal.SIGINT)
        return x, lambda dy, input_grad=True: dy

    def output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
@pytest.mark.parametrize("batch", [1, 2])
def test_ctrl_c_stops_a_validation_between_two_batches(digits, whole, tmp_path, monkeypatch, schedule, batch):
    """Its 40 images by 13 are 4 batches. What was trained is kept, the record is made when the run goes on: the same bits."""
    monkeypatch.setattr(epochs.in_batches, "__defaults__", (13, *epochs.in_batches.__defaults__[1:]))
    path = tmp_path / "c.npz"
    run = Run(schedule)
    counting = Pressing(2 * 7 + 4 + batch)  # in the second epoch
    run.model.layers.append(counting)
    with pytest.raises(KeyboardInterrupt, match=r"c\.npz holds everything up to here"):
        run.fit(digits, checkpoint=path)
    assert counting.calls == counting.at
    assert_same(Run(schedule).fit(digits, checkpoint=path, resume=True).ends(), whole[schedule])


@pytest.mark.parametrize("name", ["run.ckpt", "run", "run.npz.old", "run.safetensors", ".npz"])
def test_a_checkpoint_may_have_any_name(digits, whole, tmp_path, name):
    path = tmp_path / "runs" / name
    with pytest.raises(KeyboardInterrupt):
        Run("cosine").fit(digits, loss_function=ctrl_c(9), checkpoint=str(path))
    assert [entry.name for entry in path.parent.iterdir()] == [name]
    assert_same(Run("cosine").fit(digits, checkpoint=path, resume=True).ends(), whole["cosine"])


def test_a_checkpoint_that_cannot_be_written_is_refused_before_anything_is_trained(digits, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    run = Run()
    for path, error, message in [
        (tmp_path, IsADirectoryError, r"fit: checkpoint must be a file, .* is a folder: write '.*checkpoint\.npz'$"),
        ("", IsADirectoryError, "fit: checkpoint must be a file, . is a folder"),
        (tmp_path / "file" / "c.npz", OSError, r"fit: checkpoint .*c\.npz cannot be written: (File exists|Not a directory)$"),
        (tmp_path / ("c" * 300), OSError, "fit: checkpoint .* cannot be written: File name too long$"),
        ("a\0b", ValueError, r"fit: checkpoint 'a\\x00b' cannot be written: embedded null byte$"),
        (5, TypeError, "Checkpoint: path must be the path of a file, got 5$"),
        (b"c.npz", TypeError, "Checkpoint: path must be the path of a file, got bytes$"),
    ]:
        with pytest.raises(error, match=message):
            run.fit(digits, epochs=1, checkpoint=path)
    assert_same_state(run.model, Run().model)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_for_readers_only_is_refused_before_anything_is_trained(digits, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    run = Run()
    with pytest.raises(PermissionError, match=r"fit: checkpoint .*c\.npz cannot be written: Permission denied$"):
        run.fit(digits, epochs=1, checkpoint=tmp_path / "locked" / "c.npz")
    assert_same_state(run.model, Run().model)


def as_before(path):
    """Make the checkpoint one of the first version, whose schedules all stepped after each update and whose records had other names."""
    arrays = dict(np.load(path))
    progress = json.loads(bytes(arrays["progress"]))
    del progress["words"]["per"], progress["epoch"]["lr"], progress["epoch"]["seconds"]
    old = {"rate": "lr", "val_": "validation_"}
    progress["history"] = [{re.sub("^(rate|val_)", lambda name: old[name[0]], k): v for k, v in record.items()} for record in progress["history"]]
    np.savez(path, **arrays | {"progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)})


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_a_checkpoint_of_the_first_version_goes_on(digits, whole, tmp_path, schedule):
    path = tmp_path / "c.npz"
    with pytest.raises(KeyboardInterrupt):
        Run(schedule).fit(digits, loss_function=ctrl_c(13), checkpoint=path)
    as_before(path)
    if schedule == "cosine":
        run = Run(schedule)
        run.schedule = optim.Cosine(run.optimizer, 16, warmup=3)
        with pytest.raises(ValueError, match=r"c\.npz cannot be resumed: it was made with per update, now it is epoch"):
            run.fit(digits, checkpoint=path, resume=True)
    assert_same(Run(schedule).fit(digits, checkpoint=path, resume=True).ends(), whole[schedule])


def test_the_loss_is_of_the_whole_epoch(digits, tmp_path):
    """Of the batches before the stop, too: the record is that of an epoch of one piece."""
    path = tmp_path / "c.npz"
    expected = Run().fit(digits, epochs=1).history
    with pytest.raises(KeyboardInterrupt):
        Run().fit(digits, epochs=1, loss_function=ctrl_c(3), checkpoint=path)
    (record,) = Run().fit(digits, epochs=1, checkpoint=path, resume=True).history
    assert (record["loss"], record["accuracy"]) == (expected[0]["loss"], expected[0]["accuracy"])
