"""Groups of parameters, clipping, frozen parameters and states: what all optimizers share."""

import io

import numba
import numpy as np
import pytest

from fastconv import layers, optim

KINDS = [
    (optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}), (optim.Adam, {"betas": (0.8, 0.9)}), (optim.AdamW, {"eps": 1e-3}),
    (optim.RMSprop, {"centered": True, "momentum": 0.5, "eps": 1e-2}),
]  # fmt: skip
SHAPES = [(4,), (3, 2), (), (5,)]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def draw(rng, dtypes=(np.float32, np.float64)):
    return [layers.Parameter(np.array(rng.standard_normal(shape), dtypes[i % len(dtypes)])) for i, shape in enumerate(SHAPES)]


def copies(parameters):
    return [layers.Parameter(p.value.copy()) for p in parameters]


def train(optimizer, parameters, gradients):
    """A step for each row of gradients; None where a parameter gets none."""
    for row in gradients:
        optimizer.zero_grad()
        for p, g in zip(parameters, row, strict=True):
            if g is not None:
                p.add_grad(g)
        optimizer.step()


def some_gradients(rng, steps):
    return [[None if (s + i) % 4 == 1 else rng.standard_normal(shape) for i, shape in enumerate(SHAPES)] for s in range(steps)]


def assert_same(parameters, others):
    for p, other in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(p.value, other.value)


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_a_group_is_an_optimizer_of_its_own(kind, words, rng):
    """Two groups end, to the bit, where two optimizers with those options end; what a group does not say is the optimizer's."""
    together, apart, gradients = draw(rng), None, some_gradients(rng, 6)
    apart = copies(together)
    own = {"lr": 0.03, "weight_decay": 0.5}
    optimizer = kind([{"params": together[::2]}, {"params": iter(together[1::2]), **own}], lr=0.1, **words)
    assert [group["lr"] for group in optimizer.groups] == [0.1, 0.03]
    train(optimizer, together, gradients)
    train(kind(apart[::2], lr=0.1, **words), apart[::2], [row[::2] for row in gradients])
    train(kind(apart[1::2], **(words | own)), apart[1::2], [row[1::2] for row in gradients])
    assert_same(together, apart)


def test_lr_is_the_first_groups_and_sets_all():
    a, b = layers.Parameter(np.zeros(2)), layers.Parameter(np.zeros(2))
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 1}], lr=0.5)
    assert optimizer.lr == 0.5
    assert repr(optimizer) == "SGD(4 values, lr=0.5, 1)"
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.groups] == [0.25, 0.25]
    for bad, error in ((np.nan, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="SGD: lr must be"):
            optimizer.lr = bad
    assert optimizer.lr == 0.25


def test_wrong_groups_are_errors():
    a, b = layers.Parameter(np.zeros(2)), layers.Parameter(np.zeros(3))
    cases = [
        ([{"params": [a]}, {"params": [b, a]}], ValueError, r"SGD: Parameter\(2,\) float64 is in group 0 and in group 1"),
        ([{"params": [a]}, {"params": [b], "momentun": 1}], ValueError, "group 1 has an option 'momentun'; there are lr, momentum, "),
        ([{"params": [a], "lr": -1}], ValueError, "lr must be finite and >= 0, got -1"), ([{"params": []}], TypeError, "the list is empty"),
        ([{"params": [a], "nesterov": True}], ValueError, "nesterov needs a momentum"), ([{"lr": 1}], TypeError, "list of groups"),
        ([{"params": a}], TypeError, "non-empty list"), ([a, {"params": [b]}], TypeError, "non-empty list"),
        ({"params": [a]}, TypeError, "non-empty list"), ([], TypeError, "the list is empty: are all of them frozen?"),
        (filter(lambda p: p.frozen, [a]), TypeError, "the list is empty: are all of them frozen?"),
    ]  # fmt: skip
    for groups, error, words in cases:
        with pytest.raises(error, match=words):
            optim.SGD(groups, lr=0.1)


def clipped(row, norm, value):
    """PyTorch's clip_grad_value_, then clip_grad_norm_, written out; and the norm."""
    row = [None if g is None else np.clip(g, -value, value) for g in row]
    total = np.sqrt(sum((g**2).sum() for g in row if g is not None))
    return [None if g is None else g * min(1, norm / (total + 1e-6)) for g in row], total


@pytest.mark.parametrize(("norm", "value"), [(0.5, np.inf), (np.inf, 0.3), (0.5, 0.3), (2.0, 1.0), (100, 100)])
@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_clipping_is_pytorchs_formula(kind, words, norm, value, rng):
    """Over all parameters of all groups and dtypes that have a gradient."""
    parameters, gradients = draw(rng, [np.float64]), some_gradients(rng, 5)
    plain, kept = copies(parameters), parameters[0]
    limits = {"clip_norm": None if norm == np.inf else norm, "clip_value": value}
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.01}]
    train(optimizer := kind(groups, lr=0.1, **words, **limits), parameters, gradients)
    np.testing.assert_array_equal(kept.grad, gradients[-1][0], err_msg="step() leaves .grad alone")
    wanted = [clipped(row, norm, value) for row in gradients]
    assert optimizer.grad_norm == (None if norm == np.inf else pytest.approx(wanted[-1][1], rel=1e-12))
    train(kind([{"params": plain[:1]}, {"params": plain[1:], "lr": 0.01}], lr=0.1, **words), plain, [row for row, _ in wanted])
    for p, other in zip(parameters, plain, strict=True):
        np.testing.assert_allclose(p.value, other.value, rtol=1e-11, atol=1e-13)


def test_limits_that_are_not_reached_change_no_bit(rng):
    parameters, gradients = draw(rng), some_gradients(rng, 4)
    plain = copies(parameters)
    train(optim.Adam(parameters, clip_norm=1e6, clip_value=1e6), parameters, gradients)
    train(optim.Adam(plain), plain, gradients)
    assert_same(parameters, plain)


def test_the_norm_is_one_of_all_dtypes_and_in_float64():
    """3, 4 -> 5, across dtypes; 10 million times 1e-3 in float32 would be off in the 4th digit."""
    a, b = layers.Parameter(np.zeros(1, np.float32)), layers.Parameter(np.zeros(1))
    optimizer = optim.SGD([a, b], lr=1, clip_norm=1)
    train(optimizer, [a, b], [[[3], [4]]])
    assert optimizer.grad_norm == 5
    np.testing.assert_allclose([a.value[0], b.value[0]], [-0.6, -0.8], rtol=1e-6)
    many = layers.Parameter(np.zeros(10_000_000, np.float32))
    optimizer = optim.SGD([many], lr=1, clip_norm=1)
    train(optimizer, [many], [[np.full(10_000_000, 1e-3, np.float32)]])
    assert optimizer.grad_norm == pytest.approx(float(np.float32(1e-3)) * np.sqrt(1e7), rel=1e-12)


@pytest.mark.parametrize(("kind", "words"), KINDS)
@pytest.mark.parametrize("size", [1, 63, 8192, 100_001])
def test_steps_do_not_depend_on_the_number_of_threads(kind, words, size, rng, threads):
    value, gradient, seen = rng.standard_normal(size).astype(np.float32), rng.standard_normal(size).astype(np.float32), []
    for count in (1, numba.config.NUMBA_NUM_THREADS):
        threads(count)
        p = layers.Parameter(value.copy())
        optimizer = kind([p], lr=0.1, clip_norm=0.5, clip_value=1.5, **words)
        train(optimizer, [p], [[gradient], [gradient / 3]])
        seen.append((optimizer.grad_norm, p))
    assert seen[0][0] == seen[1][0]
    np.testing.assert_array_equal(seen[0][1].value, seen[1][1].value)


def test_gradients_that_are_not_finite_are_not_hidden_by_clipping():
    """As in PyTorch: a norm that is NaN makes all NaN, an infinite one makes the infinite NaN and the others 0."""
    for bad, rest in ((np.nan, np.nan), (np.inf, 0.0)):
        p = layers.Parameter(np.zeros(2))
        train(optim.SGD([p], lr=1, clip_norm=1), [p], [[[bad, 1]]])
        np.testing.assert_array_equal(p.value, [np.nan, rest])
    p = layers.Parameter(np.zeros(3))
    train(optim.SGD([p], lr=1, clip_value=0.5), [p], [[[np.nan, -np.inf, 0.25]]])
    np.testing.assert_array_equal(p.value, [np.nan, 0.5, -0.25])


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_limits_are_checked(kind, words, name):
    p = [layers.Parameter(np.zeros(2))]
    for value in (0, -1, np.nan):
        with pytest.raises(ValueError, match=f"{name} must be"):
            kind(p, lr=0.1, **words, **{name: value})
    for value in ("1", True, [1]):
        with pytest.raises(TypeError, match=f"{name} must be a number"):
            kind(p, lr=0.1, **words, **{name: value})
    assert repr(kind(p, lr=0.1, **words, **{name: 2})).endswith(f"lr=0.1, {name}=2)")


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_a_frozen_parameter_stays_and_is_no_part_of_the_norm(kind, words):
    a, b = layers.Parameter(np.ones(2)), layers.Parameter(np.ones(3))
    optimizer = kind([a, b], lr=0.1, clip_norm=1, **words)
    train(optimizer, [a, b], [[np.ones(2), np.ones(3)]])
    a.add_grad(np.ones(2))
    a.frozen = True
    assert not a.has_grad, "what it had is dropped"
    before = a.value.copy(), b.value.copy(), a.version
    train(optimizer, [a, b], [[np.ones(2), np.full(3, 2.0)]])
    np.testing.assert_array_equal(a.value, before[0])
    assert a.version == before[2]
    assert optimizer.counts == {a: 1, b: 2}
    assert optimizer.grad_norm == pytest.approx(np.sqrt(12))
    assert (b.value != before[1]).all()
    a.frozen = False
    train(optimizer, [a, b], [[np.ones(2), None]])
    assert (a.value != before[0]).all()


def by_npz(state):
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


@pytest.mark.parametrize("way", [dict, by_npz])
@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_an_optimizer_goes_on_from_its_state_to_the_bit(kind, words, way, rng):
    def make(parameters, lr=0.1, **others):
        return kind([{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.03}], lr, **(words | others))

    parameters, gradients = draw(rng), some_gradients(rng, 9)
    once = copies(parameters)
    train(make(once, clip_norm=1), once, gradients)

    first = make(parameters, clip_norm=1)
    train(first, parameters, gradients[:4])
    state, resumed = way(first.state_dict()), copies(parameters)
    train(first, parameters, gradients[:1])  # a state is a copy
    second = make(resumed, lr=0.7, weight_decay=0.4)
    second.load_state_dict(state)
    train(second, resumed, gradients[4:])
    assert_same(once, resumed)
    assert list(second.counts.values()) == [sum(row[i] is not None for row in gradients) for i in range(len(SHAPES))]


def test_a_state_is_taken_whole_or_not_at_all(rng):
    parameters = draw(rng)
    optimizer = optim.Adam(parameters, lr=0.1)
    train(optimizer, parameters, some_gradients(rng, 3))
    before = optimizer.state_dict()
    bad = optimizer.state_dict() | {"groups.0.lr": 7.0, "parameters.1.mean": np.zeros((2, 3)), "parameters.3.square": np.zeros(5, np.float32)}
    bad |= {"parameters.0.count": 1.5, "parameters.2.speed": 0.0}
    del bad["parameters.0.mean"]
    parts = [
        "missing parameters.0.mean", "unexpected parameters.2.speed", r"parameters.1.mean has the shape \(2, 3\), the optimizer's is \(3, 2\)",
        "parameters.3.square is float32, the optimizer's is float64", "parameters.0.count is float64, the optimizer's is int64",
    ]  # fmt: skip
    cases = [
        (bad, "".join(f"(?=.*{part})" for part in parts)), (before | {"parameters.0.count": -1}, r"parameters\.0\.count must be >= 0, got -1"),
        (before | {"groups.0.lr": np.nan}, "lr must be finite"), (before | {"groups.0.betas": np.array([0.9, 1.0])}, "betas must be two numbers"),
        (before | {"clip_norm": -1.0}, "clip_norm must be"),
        (optim.SGD(copies(parameters), lr=1).state_dict(), "missing groups.0.betas.*unexpected groups.0"),
    ]  # fmt: skip
    for state, words in cases:
        with pytest.raises(ValueError, match=f"nothing was loaded: .*{words}"):
            optimizer.load_state_dict(state)
        after = optimizer.state_dict()
        assert list(after) == list(before)
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value, err_msg=name)
