"""Schedules against their formulas (PyTorch's, written out), with a rate for each group, and their states."""

import json
import math

import numpy as np
import pytest

from fastconv import layers, optim

BASES = [0.5, 0.03]


def two_groups(lr=BASES[0], second=BASES[1]):
    return optim.SGD([{"params": [layers.Parameter(np.zeros(2))]}, {"params": [layers.Parameter(np.zeros(3))], "lr": second}], lr=lr)


def rates(optimizer):
    return [group["lr"] for group in optimizer.groups]


def cosine(base, step, total, warmup, low):
    """PyTorch's LinearLR, then CosineAnnealingLR, from one rate to the next; CosineAnnealingLR's recursion."""
    if step <= warmup:
        factor = 1 / (warmup + 1)
        return base * (factor + (1 - factor) * step / max(1, warmup)) if warmup else base
    T, lr = total - warmup, base
    for t in range(1, min(step - warmup, T) + 1):
        lr = (1 + math.cos(math.pi * t / T)) / (1 + math.cos(math.pi * (t - 1) / T)) * (lr - low) + low
    return lr


def stair(base, step):
    for at in range(1, step + 1):
        base *= 0.3 if at % 4 == 0 else 1
    return base


def milestones(base, step):
    for at in range(1, step + 1):
        base *= 0.3 ** [9, 2, 2].count(at)
    return base


FORMULAS = [
    (lambda o: optim.Step(o, 4, 0.3), stair), (lambda o: optim.MultiStep(o, [9, 2, 2], 0.3), milestones),
    (lambda o: optim.Linear(o, 0.25, 0.75, 8), lambda base, step: base * (0.25 + 0.5 * min(step, 8) / 8)),
    (lambda o: optim.Exponential(o, 0.7), lambda base, step: base * 0.7**step),
    (lambda o: optim.Cosine(o, 12), lambda base, step: cosine(base, step, 12, 0, 0)),
    (lambda o: optim.Cosine(o, 12, warmup=5, min_lr=0.01), lambda base, step: cosine(base, step, 12, 5, 0.01)),
    (lambda o: optim.Cosine(o, 12, warmup=1), lambda base, step: cosine(base, step, 12, 1, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "formula"), FORMULAS)
def test_schedules_follow_their_formulas_in_every_group(make, formula):
    optimizer = two_groups()
    schedule = make(optimizer)
    for step in range(16):
        assert rates(optimizer) == pytest.approx([formula(base, step) for base in BASES], rel=1e-12, abs=1e-15), f"step {step}"
        schedule.step(metric=0.0)  # a loop may tell every schedule


def test_a_warm_up_is_a_straight_line_to_the_base_rate():
    optimizer = two_groups()
    schedule, seen = optim.Cosine(optimizer, 10, warmup=4), []
    for _ in range(5):
        seen.append(optimizer.lr)
        schedule.step()
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert seen[-1] == 0.5


def one_cycle(step, total, top, rise=0.3, div=25.0, final_div=1e4):
    """PyTorch's OneCycleLR with cosine annealing, written out."""
    low, end = top / div, top / div / final_div
    turn = rise * total - 1
    a, b, share = (low, top, step / turn) if step <= turn else (top, end, (step - turn) / (total - 1 - turn))
    return b + (a - b) / 2 * (1 + math.cos(math.pi * share))


@pytest.mark.parametrize("total", [10, 37, 100])
def test_one_cycle_follows_its_formula(total):
    optimizer = optim.SGD([layers.Parameter(np.zeros(2))], lr=1)
    schedule = optim.OneCycle(optimizer, max_lr=0.5, total_steps=total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.lr)
        schedule.step()
    assert rates == pytest.approx([one_cycle(step, total, 0.5) for step in range(total)], rel=1e-12)
    assert rates[0] == pytest.approx(0.5 / 25)
    assert rates[-1] == pytest.approx(0.5 / 250_000)
    top = int(np.argmax(rates))
    assert abs(top - (0.3 * total - 1)) < 1
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    if total % 10 == 0:
        assert rates[top] == pytest.approx(0.5)
    assert optimizer.lr == rates[-1], "after the last step its rate stays"


def test_one_cycle_checks_its_numbers():
    optimizer = optim.SGD([layers.Parameter(np.zeros(2))], lr=1)
    with pytest.raises(ValueError, match=r"total_steps must be between 2 and .*, got 1"):
        optim.OneCycle(optimizer, 0.1, 1)
    for rise in (0, 1, -1, np.nan):
        with pytest.raises(ValueError, match="rise must be in 0 < rise < 1"):
            optim.OneCycle(optimizer, 0.1, 10, rise=rise)
    for max_lr in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="max_lr must be"):
            optim.OneCycle(optimizer, max_lr, 10)
    for name in ("start", "end", "max_lr"):
        with pytest.raises(ValueError, match=f"{name} must be > 0, got 0"):
            optim.OneCycle(optimizer, **({"max_lr": 1, "total_steps": 10} | {name: 0}))
    with pytest.raises(ValueError, match="there are 3 rates for the optimizer's 2 groups"):
        optim.OneCycle(two_groups(), [1, 2, 3], 10)


def test_one_cycle_has_one_top_for_all_groups_or_one_for_each():
    for max_lr, tops in ((0.5, (0.5, 0.5)), ([0.5, 0.2], (0.5, 0.2))):
        optimizer = two_groups()
        schedule = optim.OneCycle(optimizer, max_lr, 10, rise=0.4, start=10, end=100)
        for step in range(10):
            assert rates(optimizer) == pytest.approx([one_cycle(step, 10, top, 0.4, 10, 100) for top in tops], rel=1e-12)
            schedule.step()


def plateau(metrics, lr, mode, factor, patience, threshold, threshold_mode, cooldown, low):
    """PyTorch's ReduceLROnPlateau, written out: the rate before each step."""
    best, bad, cooling, seen = math.inf if mode == "min" else -math.inf, 0, 0, []
    for metric in metrics:
        seen.append(lr)
        limit = {
            ("min", "rel"): best * (1 - threshold), ("min", "abs"): best - threshold,
            ("max", "rel"): best * (1 + threshold), ("max", "abs"): best + threshold,
        }[mode, threshold_mode]  # fmt: skip
        better = metric < limit if mode == "min" else metric > limit
        best, bad = (metric, 0) if better else (best, bad + 1)
        if cooling:
            cooling, bad = cooling - 1, 0
        if bad > patience:
            if lr - max(lr * factor, low) > 1e-8:
                lr = max(lr * factor, low)
            cooling, bad = cooldown, 0
    return seen


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 3)])
def test_plateau_lowers_the_rates_when_the_metric_stays(mode, threshold_mode, patience, cooldown):
    metrics = np.random.default_rng(0).uniform(0.9, 1.1, 60) * np.repeat([1, 0.8, 0.5, 0.7], 15)
    metrics[7] = np.nan
    optimizer = two_groups()
    schedule = optim.Plateau(optimizer, mode, 0.5, patience, 0.05, threshold_mode, cooldown, 1e-3)
    seen = []
    for metric in metrics:
        seen.append(rates(optimizer))
        schedule.step(metric)
    wanted = [plateau(metrics, base, mode, 0.5, patience, 0.05, threshold_mode, cooldown, 1e-3) for base in BASES]
    np.testing.assert_array_equal(np.transpose(seen), wanted)
    assert len(set(wanted[0])) > 2, "the case shows something"


def test_plateau_without_its_metric_says_what_to_write():
    schedule = optim.Plateau(two_groups())
    assert schedule.needs_metric
    assert not optim.Step(two_groups(), 1).needs_metric
    for words in ({}, {"metric": None}, {"metric": "0.5"}, {"metric": True}):
        with pytest.raises(TypeError, match=r"Plateau: step needs the metric it watches.*write schedule\.step\(validation_loss\)"):
            schedule.step(**words)
    assert schedule.steps == 0


ALL = [make for make, _ in FORMULAS] + [
    lambda o: optim.OneCycle(o, 0.5, 12), lambda o: optim.Plateau(o, patience=1, cooldown=3),
    lambda o: optim.Plateau(o, patience=3), lambda o: optim.Plateau(o, "max", patience=0),
]  # fmt: skip


def by_json(state):
    return json.loads(json.dumps({name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()}))


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("way", [dict, by_json])
def test_a_schedule_goes_on_from_its_state_to_the_bit(make, way):
    """Also when the optimizer it is given has another rate by now, and through JSON."""
    metrics = [1, 0.9, 0.9, 0.9, 0.9, 0.95, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    whole, first, second = two_groups(), two_groups(), two_groups(0.2, 0.1)
    schedules = [make(optimizer) for optimizer in (whole, first, second)]
    for number, metric in enumerate(metrics):
        if number == 5:
            schedules[2].load_state_dict(way(schedules[1].state_dict()))
        schedules[0].step(metric)
        schedules[1 if number < 5 else 2].step(metric)
        assert rates(whole) == rates(first if number < 5 else second), f"after step {number}"
    assert rates(whole) != rates(first)


def test_a_schedules_state_is_taken_whole_or_not_at_all():
    optimizer = two_groups()
    schedule = optim.Step(optimizer, 2)
    schedule.step()
    state = schedule.state_dict()
    cases = [
        ({"steps": 5}, "missing base_lrs"),
        (state | {"best": 1.0}, "unexpected best"),
        (state | {"steps": 5.0}, "steps is float64, the schedule's is int64"),
        (state | {"steps": -1}, "steps must be >= 0, got -1"),
        (state | {"base_lrs": np.ones(3)}, r"base_lrs has the shape \(3,\), the schedule's is \(2,\)"),
        (state | {"base_lrs": np.array([1, np.nan])}, "base_lrs must be >= 0"),
    ]
    for bad, words in cases:
        with pytest.raises(ValueError, match=f"nothing was loaded: .*{words}"):
            schedule.load_state_dict(bad)
        assert schedule.steps == 1
        assert rates(optimizer) == BASES


def test_arguments_of_schedules_are_checked():
    o = two_groups()
    cases = [
        (lambda: optim.Step(o, 0), ValueError, "step_size must be between 1"),
        (lambda: optim.Step(o, 2, -1), ValueError, "gamma must be finite and >= 0"),
        (lambda: optim.MultiStep(o, 3), TypeError, "milestones must be a list"),
        (lambda: optim.MultiStep(o, [1, 2.5]), TypeError, r"milestones\[1\]"),
        (lambda: optim.Cosine(o, 5, warmup=5), ValueError, "warmup must be less than total_steps=5, got 5"),
        (lambda: optim.Cosine(o, 0), ValueError, "total_steps must be"),
        (lambda: optim.Cosine(o, 5, min_lr=np.nan), ValueError, "min_lr must be finite"),
        (lambda: optim.Plateau(o, "low"), ValueError, "mode must be 'min' or 'max', got 'low'"),
        (lambda: optim.Plateau(o, factor=1), ValueError, "factor < 1"),
        (lambda: optim.Plateau(o, threshold_mode="x"), ValueError, "threshold_mode must be"),
        (lambda: optim.Plateau(o, patience=-1), ValueError, "patience"),
        (lambda: optim.Step([1], 3), TypeError, "Step: the first argument must be an Optimizer, got list"),
        (lambda: optim.Step(optim.Adam, 3), TypeError, r"Step: the first argument must be an Optimizer, got the class Adam: call it, Adam\(\.\.\.\)"),
        (lambda: optim.OneCycle(o, 1, 9, rise="x"), TypeError, "OneCycle: rise must be a number, got 'x'"),
        (lambda: optim.OneCycle(o, 1, 9, rise=None), TypeError, "OneCycle: rise must be a number, got None"),
        (lambda: optim.OneCycle(o, None, 9), TypeError, "OneCycle: max_lr must be a number, got None"),
        (lambda: optim.OneCycle(o, "1", 9), TypeError, "OneCycle: max_lr must be a number, got '1'"),
        (lambda: optim.OneCycle(o, 10**400, 9), ValueError, "OneCycle: max_lr must be finite"),
        (lambda: optim.OneCycle(o, 1, 9, end="x"), TypeError, "OneCycle: end must be a number"),
        (lambda: optim.MultiStep(o, np.array(3)), TypeError, "milestones must be a list"),
        (lambda: optim.MultiStep(o, None), TypeError, "milestones must be a list"),
        (lambda: optim.OneCycle(o, [[0.1], [0.1, 2]], 9), TypeError, "OneCycle: max_lr must be a number"),
        (lambda: optim.Plateau(o, np.array(["min", "max"])), ValueError, "mode must be 'min' or 'max'"),
        (lambda: optim.Plateau(o, ["min"]), ValueError, "mode must be 'min' or 'max'"),
        (lambda: optim.Step(o, 3, per="step"), ValueError, "Step: per must be 'epoch' or 'update', got 'step'"),
        (lambda: optim.MultiStep(o, [3], per=None), ValueError, "MultiStep: per must be 'epoch' or 'update', got None"),
        (lambda: optim.Cosine(o, 3, per=3), ValueError, "Cosine: per must be 'epoch' or 'update', got 3"),
        (lambda: optim.OneCycle(o, 1, 9, per=["update"]), ValueError, "OneCycle: per must be 'epoch' or 'update'"),
    ]
    for make, error, words in cases:
        with pytest.raises(error, match=words):
            make()
    assert rates(o) == BASES


def test_a_schedule_shows_what_it_is_and_where_it_stands():
    schedule = optim.Cosine(two_groups(), 10, warmup=4)
    schedule.step()
    assert repr(schedule) == "Cosine(total_steps=10, warmup=4, min_lr=0.0, per=epoch) at step 1, lr=0.2, 0.012"


@pytest.mark.parametrize(("entry", "value"), [("steps", 10_000), ("base_lrs", np.array([np.inf])), ("base_lrs", np.array([1e305]))])
def test_a_state_whose_rates_are_no_numbers_loads_nothing(entry, value):
    """gamma ** steps overflows, or the rate does: nothing of the state is taken over."""
    optimizer = optim.SGD([layers.Parameter(np.zeros(2))], lr=1)
    schedule = optim.Step(optimizer, 1, gamma=10.0)
    before = schedule.state_dict()
    state = before | {"steps": 10, entry: value}
    with pytest.raises(ValueError, match=r"^load_state_dict: nothing was loaded: .*rates?"):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == before
    assert optimizer.lr == 1


def test_a_state_is_a_mapping():
    optimizer = optim.SGD([layers.Parameter(np.zeros(2))], lr=1)
    for owner, name in ((optimizer, "optimizer"), (optim.Step(optimizer, 1), "schedule")):
        for wrong in ("checkpoint.npz", None, [1]):
            with pytest.raises(
                TypeError, match=rf"^load_state_dict: state must be a dict, as the {name}'s state_dict\(\) gives it, got {type(wrong).__name__}$"
            ):
                owner.load_state_dict(wrong)
