"""Schedules against PyTorch's own, step after step, with a rate for each group."""

import numpy as np
import pytest

from fastconv import layers, optim

torch = pytest.importorskip("torch")
from torch.optim import lr_scheduler  # noqa: E402  # where there is PyTorch

LRS = 0.5, 0.03
PAIRS = {
    "Step": (lambda o: optim.Step(o, 4, 0.3), lambda o: lr_scheduler.StepLR(o, 4, 0.3)),
    "MultiStep": (lambda o: optim.MultiStep(o, [3, 9, 9], 0.3), lambda o: lr_scheduler.MultiStepLR(o, [3, 9, 9], 0.3)),
    "Linear": (lambda o: optim.Linear(o), lambda o: lr_scheduler.LinearLR(o)),
    "Linear down": (lambda o: optim.Linear(o, 1.0, 0.0, 10), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, 10)),
    "Exponential": (lambda o: optim.Exponential(o, 0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    "Cosine": (lambda o: optim.Cosine(o, 14, min_lr=0.01), lambda o: lr_scheduler.CosineAnnealingLR(o, 14, 0.01)),
    "OneCycle": (lambda o: optim.OneCycle(o, list(LRS), 15), lambda o: lr_scheduler.OneCycleLR(o, list(LRS), 15, cycle_momentum=False)),
    "Plateau": (lambda o: optim.Plateau(o, patience=1, cooldown=1), lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, cooldown=1)),
}
METRICS = 5.0, 4.0, 4.5, 4.2, 4.1, 4.3, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7


@pytest.mark.parametrize("name", PAIRS)
def test_a_schedule_is_pytorchs(name):
    ours = optim.SGD([{"params": [layers.Parameter(np.zeros(1))], "lr": lr} for lr in LRS], lr=1.0)
    theirs = torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in LRS], lr=1.0)
    make, make_theirs = PAIRS[name]
    schedule, scheduler = make(ours), make_theirs(theirs)
    for metric in METRICS:
        expected = [group["lr"] for group in theirs.param_groups]
        assert [group["lr"] for group in ours.groups] == pytest.approx(expected, rel=1e-12, abs=1e-15), f"step {schedule.steps}"
        schedule.step(metric)
        theirs.step()
        scheduler.step(*([metric] if name == "Plateau" else []))
