"""What people type first is answered with the line to write."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, functional, layers, losses, optim, reflexes, train
from fastconv.layers.traced import Traced

MODULES = {
    "layers": layers, "losses": losses, "optim": optim, "functional": functional, "data": data, "fastconv": fc, "init": layers.init,
}  # fmt: skip
OPTIMIZER = optim.SGD(layers.Linear(2, 2).parameters(), lr=0.1)
LOSS = losses.mse(np.ones(2, np.float32), np.zeros(2, np.float32))
OWNERS = {
    **MODULES, "Layer": layers.ReLU(), "Parameter": layers.Parameter(np.ones(1, np.float32)), "traced": Traced(None, 0), "Loss": LOSS,
    "Optimizer": OPTIMIZER, "Schedule": optim.Exponential(OPTIMIZER, 0.9),
}  # fmt: skip


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, answers in reflexes.ANSWERS.items() for name in answers])
def test_an_answer_shows_the_line(table, name):
    line = reflexes.ANSWERS[table][name]
    if table in MODULES and name in vars(MODULES[table]):
        pytest.fail(f"{table}.{name} is there now: take its answer out of fastconv/reflexes.py")
    with pytest.raises(AttributeError, match=f"has no '{name}': {re.escape(line)}$"):
        getattr(OWNERS[table], name)


CALLS = {
    "fit": [train.fit],
    "image_folder": [data.image_folder],
    "Schedule": [optim.Step, optim.Linear, optim.Cosine, optim.OneCycle],
    "loss": [losses.cross_entropy, losses.mse, losses.huber, losses.bce_with_logits],
    "Optimizer": [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop],
    "zero_grad": [optim.SGD.zero_grad, layers.Linear.zero_grad],
    "Batches": [data.Batches],
    "init": [layers.init.kaiming_normal, layers.init.kaiming_uniform, layers.init.xavier_uniform, layers.init.xavier_normal, layers.init.orthogonal],
    "Layer": [layers.Linear, layers.Conv2d, layers.ConvTranspose2d],
}


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, answers in reflexes.KEYWORDS.items() for name in answers])
def test_an_unknown_argument_is_answered_with_the_line(table, name):
    line = reflexes.KEYWORDS[table][name]
    for function in CALLS[table]:
        if name in inspect.signature(function).parameters:
            pytest.fail(f"{function.__name__} takes {name} now: take its answer out of fastconv/reflexes.py")
        with pytest.raises(TypeError, match=f"^{function.__name__} has no argument '{name}': {re.escape(line)}$"):
            function(1, 2, 3, **{name: 4})


def written() -> list[tuple[str, str]]:
    """Each name of the package that an answer tells to write."""
    text = "\n".join(line for answers in [*reflexes.ANSWERS.values(), *reflexes.KEYWORDS.values()] for line in answers.values())
    dotted = re.findall(r"\b(layers|losses|optim|functional|data|train|fc)\.([a-zA-Z]\w*)", text)
    bare = re.findall(r"\b([A-Z][a-zA-Z]*\d?d?)\(", "\n".join(reflexes.ANSWERS["layers"].values()))
    return sorted({*dotted, *(("layers", name) for name in bare)})


@pytest.mark.parametrize(("module", "name"), written())
def test_what_an_answer_tells_to_write_is_there(module, name):
    assert hasattr({**MODULES, "fc": fc, "train": train}[module], name)


def test_the_frozen_of_pytorch_is_taken():
    """`p.requires_grad = False`, in a loop over the parameters, must not pass by without effect."""
    model = layers.Linear(2, 2)
    for p in model.parameters():
        p.requires_grad = False
    assert model.frozen
    assert not model.weight.requires_grad
    with pytest.raises(TypeError, match="Parameter: requires_grad must be True or False, got 0"):
        p.requires_grad = 0


def test_gradients_of_a_model_are_zeroed():
    model = layers.Linear(2, 2)
    model.weight.add_grad(np.ones((2, 2), np.float32))
    model.zero_grad()
    assert not model.weight.has_grad


@pytest.mark.parametrize("use", [float, "{:.4f}".format, lambda loss: 0.0 + loss, lambda loss: loss / 2, lambda loss: loss < 1, round])
def test_a_loss_that_is_used_as_a_number_shows_the_line(use):
    with pytest.raises(TypeError, match=re.escape("a loss is a pair and no number: write value, d_outputs = losses.cross_entropy(outputs, y);")):
        use(LOSS)


def test_a_loss_is_unpacked_printed_copied_and_pickled_as_a_pair():
    value, gradient = pickle.loads(pickle.dumps(copy.deepcopy(LOSS)))
    assert isinstance(LOSS, tuple)
    assert f"{value} {gradient}" == "1.0 [1. 1.]"
    assert f"{LOSS}" == repr(LOSS)


def test_other_names_stay_unknown():
    for owner in OWNERS.values():
        assert not hasattr(owner, "nonsense")
        with pytest.raises(AttributeError, match=r"has no 'nonsense'$"):
            owner.nonsense  # noqa: B018
