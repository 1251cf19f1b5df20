"""What was noted of a pass and what changes meanwhile: batches, the model, memory, threads."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import layers, losses, memory, optim, train
from fastconv.layers import Sequential
from fastconv.train import replay
from fastconv.train.steps import add_gradients
from tests.train.replays import SHAPE, STEPS, assert_same, by_layers, compared, loss, net, normal, noted, state

pytestmark = pytest.mark.usefixtures("one_thread")


def frozen(model, step):
    model[0].frozen = step == 2


def half_frozen(model, step):
    model[0].weight.frozen = step % 2 == 1


def kept_gradients(model, step):
    if step != 1:
        add_gradients(model, normal(SHAPE, 9), normal((4, 3), 9), loss)


def options(model, step):
    if step == 2:
        model[4].p = 0.5


def statistics(model, step):
    if step == 2:
        model[1].running_mean.value = np.ones(8, np.float32)


def loaded(model, step):
    if step == 2:
        model.load_state_dict({name: value * 2 for name, value in model.state_dict().items() if name != "1.num_batches_tracked"})


def moved(model, step):
    if step == 2:
        vars(model)["other"] = optim.SGD(model[6:].parameters(), 0.1)  # another flat buffer takes them
        layers.flatten(model[6].parameters())


def replaced(model, step):
    if step == 2:
        model.layers[2] = layers.ELU()


def threads(model, step):
    fc.set_num_threads(1 + step // 3)


@pytest.mark.parametrize("change", [frozen, half_frozen, options, statistics, loaded, moved, replaced, threads], ids=lambda change: change.__name__)
def test_changes_of_the_model(change):
    before = fc.get_num_threads()
    try:
        compared(net(), SHAPE, change=change)
    finally:
        fc.set_num_threads(before)


def test_gradients_that_are_there_are_added_to():
    model, plain = net(), None
    plain = by_layers(copy.deepcopy(model))
    for step in range(8):
        for each in (plain, model):
            if step % 2 == 0:
                each.zero_grad()
            add_gradients(each, normal(SHAPE, step), normal((4, 3), step), loss)
        assert_same(state(model, np.empty(0)), state(plain, np.empty(0)))
    assert noted(model) == 2


LARGE = 16, 8, 24, 24  # arrays that lie in the arena


def large() -> Sequential:
    body = Sequential(layers.Conv2d(16, 16, 3, padding=1), layers.BatchNorm2d(16))
    return Sequential(
        *(layers.Conv2d(8, 16, 3, padding=1), layers.ReLU(), layers.Residual(body), layers.ReLU(), layers.MaxPool2d(2)),
        *(layers.Dropout(0.25), layers.Flatten(), layers.Linear(2304, 10)),
    )


def test_nothing_is_read_that_was_not_written_in_the_same_pass():
    def poison(model, step):
        for chunk in vars(model).get("_replays", replay.Replays())._arena._chunks:
            chunk.memory.view(np.uint8).fill(255)  # NaN
        junk.append(memory.empty((1 << 18,), np.float32))
        junk[-1].fill(np.nan)

    junk: list = []
    model = compared(large(), LARGE, change=poison)
    assert noted(model) == 1
    assert vars(model)["_replays"]._arena.made > 1 << 20


def test_any_number_of_kinds_takes_the_memory_of_the_largest():
    model, sizes = large(), []
    for N in (16, 12, 8):
        for step in range(3):
            add_gradients(model, normal(LARGE, step)[:N], normal((N, 10), step), loss)
        sizes.append(vars(model)["_replays"]._arena.made)
    assert noted(model) == 3
    assert sizes == [sizes[0]] * 3


def test_its_memory_goes_back_with_the_model():
    model = large()
    for step in range(3):
        add_gradients(model, normal(LARGE, step), normal((16, 10), step), loss)
    arena, before = weakref.ref(vars(model)["_replays"]._arena), memory.shelves.waiting
    del model
    gc.collect()
    assert arena() is None
    assert memory.shelves.waiting > before


def test_a_few_models_keep_what_was_noted():
    models = [net() for _ in range(replay.MODELS + 2)]
    for model in models:
        for step in range(3):
            add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
    assert [noted(model) for model in models] == [0, 0] + [1] * replay.MODELS
    compared(models[0], SHAPE)


def test_outputs_are_the_callers_and_read_only():
    model, kept = net(), []
    for step in range(STEPS):
        _, outputs = add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
        assert not outputs.flags.writeable
        kept.append((outputs, outputs.copy()))
    for outputs, copied in kept:
        np.testing.assert_array_equal(outputs, copied)


def test_a_parameter_that_the_loss_changes_is_found_out():
    model = net()

    def changing(outputs, targets):
        model[0].bias.value += 1
        return loss(outputs, targets)

    for step in range(STEPS):
        with pytest.raises(RuntimeError, match="a parameter has changed since forward"):
            add_gradients(model, normal(SHAPE, step), normal((4, 3), step), changing)
        model.zero_grad()
        add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
    assert noted(model) == 1


def test_a_loss_that_raises_leaves_all_as_it_was():
    def failing(outputs, targets):
        raise ArithmeticError

    model = net()
    for step in range(STEPS):
        with pytest.raises(ArithmeticError):
            add_gradients(model, normal(SHAPE, step), normal((4, 3), step), failing)
        assert not any(p.has_grad for p in model.parameters())
    compared(model, SHAPE)


@pytest.mark.parametrize("wrong", [np.zeros((3, 4), np.float32), np.zeros((4, 3)), None], ids=["shape", "dtype", "none"])
def test_a_gradient_that_does_not_fit_is_told_as_ever(wrong):
    model, texts = net(), []
    for step in range(STEPS):
        if step != 1:  # by layers, and noted
            with pytest.raises((TypeError, ValueError), match="backward: dy") as told:
                add_gradients(model, normal(SHAPE, step), normal((4, 3), step), lambda outputs, targets: (0.0, wrong))
            texts.append(str(told.value))
        add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
    assert len(set(texts)) == 1


def test_layers_of_somebody_else_run_each_time():
    class Counted(layers.ReLU):
        count = 0

        def forward(self, x, training=True):
            Counted.count += 1
            return super().forward(x, training)

    model = net()
    model[2] = Counted()
    for step in range(STEPS):
        add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
    assert Counted.count == STEPS
    assert not noted(model)


def test_a_forward_of_the_layers_own_runs_each_time():
    model, seen = net(), []
    own = model[4].forward
    model[4].forward = lambda x, training=True: seen.append(1) or own(x, training)
    for step in range(STEPS):
        add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
    assert len(seen) == STEPS


def test_forward_of_a_module_is_called_once_a_step_and_may_do_something_else():
    class Net(fc.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.blocks = [], [layers.Linear(6, 6) for _ in range(3)]

        def forward(self, x):
            self.calls += [1] * self.training
            for block in self.blocks[: 1 + len(self.calls) // 4]:
                x = F.relu(block(x))
            return x

    model = compared(Net(), (4, 6))
    assert len(model.calls) == STEPS
    assert noted(model) <= 1


def test_copies_note_anew():
    model = net()
    for step in range(STEPS):
        add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert vars(other).get("_replays") is not vars(model)["_replays"]
        compared(other, SHAPE)
    assert noted(model) == 1


def test_who_trains_the_same_model_meanwhile_runs_its_layers():
    model, together, errors = net(), threading.Barrier(2, timeout=20), []
    for step in range(3):
        add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)

    def waiting(outputs, targets):
        together.wait()
        return loss(outputs, targets)

    def work(seed):
        try:
            for step in range(5):
                x = normal(SHAPE, seed + step)
                _, outputs = add_gradients(model, x, normal((4, 3), step), waiting)
                assert outputs.shape == (4, 3)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_fit_and_step_train_to_the_same_bits(monkeypatch):
    x, y = normal((22, 1, 8, 8), 0), np.arange(22) % 3
    results = []
    for never in (False, True):
        if never:
            monkeypatch.setattr(replay, "all_noted", lambda layer: False)
        fc.seed(1)
        model = net()
        train.fit(model, x, y, epochs=4, batch_size=8, accumulate=2, verbose=0)
        optimizer = optim.AdamW(model.parameters())
        values = [train.step(model, x, y, losses.cross_entropy, optimizer) for _ in range(STEPS)]
        assert bool(noted(model)) != never
        results.append([np.array(values), *model.state_dict().values()])
    assert_same(*results)
