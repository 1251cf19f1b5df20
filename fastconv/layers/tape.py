"""A recorded pass runs: neighbors as one where the table of fusions says so, and back again, layer by layer, to the gradients.

    record   conv (0,) -> 1   bn (1,) -> 2   sum (2, 0) -> 3   relu (3,) -> 4         x + bn(conv(x)), of which nobody else reads 1, 2 and 3
    steps    conv (0,) -> 1   bn + x, relu: (1, 0) -> 4
    back     dy of 4 -> those of 1 and 0;   that of 1 -> a second one of 0, which is added

A value that several read gets the sum of what comes back from them, the last reader's first; one that nobody reads gets none.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.layers.fusion import NORMS, fusion_of
from fastconv.layers.joins import Join, NormSum, Sum
from fastconv.layers.layer import Backward, Step, once_through
from fastconv.layers.recorded import Node, Record
from fastconv.layers.sequential import learns
from fastconv.ops.passes import sum_pass

NO_WORDS: dict[str, bool] = {}


class Run(NamedTuple):
    """A layer or join, the words that its `forward` takes besides, and the values it takes and gives."""

    layer: Any
    words: dict[str, bool]
    taken: tuple[int, ...]
    given: int
    joins: bool = False
    last: tuple[int, ...] = ()  # values that nobody reads afterwards


def planned(nodes: Sequence[Node], inputs: int, outputs: tuple[int, ...]) -> list[Run]:
    """What runs in turn."""
    readers = Counter(number for _, taken in nodes for number in taken) + Counter(outputs)
    next_of = {number: layer for layer, taken in nodes for number in taken if readers[number] == 1}  # the only one who reads it
    times = Counter(layer for layer, _ in nodes)
    runs: list[Run | None] = []
    made: dict[int, int] = {}  # a value that has one reader, and which run makes it

    for given, (layer, taken) in enumerate(nodes, inputs):
        run = Run(layer, NO_WORDS, taken, given)
        if type(layer) is Sum:
            norm = next((i for i in (0, 1) if taken[i] in made and _adds(runs[made[taken[i]]], times)), None)
            if norm is not None:
                before = runs[made[taken[norm]]]
                runs[made[taken[norm]]] = None  # it waits for the other value
                run = Run(NormSum(before.layer), NO_WORDS, (before.taken[0], taken[1 - norm]), given)
        elif len(taken) == 1 and taken[0] in made and not runs[made[taken[0]]].words:
            before = runs[made[taken[0]]]
            fusion = fusion_of(before.layer, layer, next_of.get(given))
            if fusion:
                runs[made[taken[0]]] = Run((before.layer, layer)[fusion.runs], fusion.words, before.taken, given)
                made[given] = made[taken[0]]
                continue
        if given in next_of:
            made[given] = len(runs)
        runs.append(run)
    return _freeing([run for run in runs if run], inputs, outputs)


def _adds(run: Run, times: Counter) -> bool:
    """Whether it is a batch normalization that may add another value, later than it was called: its statistics must not count in another order."""
    return type(run.layer) in NORMS and not run.words and times[run.layer] == 1


def _freeing(runs: list[Run], inputs: int, outputs: tuple[int, ...]) -> list[Run]:
    """Each with what it is the last to read."""
    kept, freeing = set(outputs), []
    for run in reversed(runs):
        last = {*run.taken, run.given} - kept
        kept |= last
        freeing.append(run._replace(joins=isinstance(run.layer, Join), last=tuple(last)))
    return freeing[::-1]


def inferred(runs: list[Run], record: Record, inputs: tuple[np.ndarray, ...], outputs: tuple[int, ...]) -> list[np.ndarray]:
    """The outputs; nothing is kept."""
    values: dict[int, Any] = dict(enumerate(inputs))
    for layer, words, taken, given, joins, last in runs:
        try:
            if joins:
                values[given] = layer.forward([values[i] for i in taken], False, **words)[0]
            else:
                values[given] = layer.forward(values[taken[0]], False, **words)[0] if words else layer(values[taken[0]])
        except (TypeError, ValueError) as error:
            raise record.told(error, layer) from None
        for number in last:
            del values[number]
    return [values[number] for number in outputs]


def trained(runs: list[Run], record: Record, inputs: tuple[np.ndarray, ...], outputs: tuple[int, ...], single: bool) -> tuple[Any, Backward]:
    """The output and the way back, which takes its gradient; unless it is a single one, a tuple each."""
    values: dict[int, Any] = dict(enumerate(inputs))
    training = record.training
    steps: list[tuple[Any, Step]] = []
    for layer, words, taken, given, joins, last in runs:
        try:
            if joins:
                values[given], step = layer.forward([values[i] for i in taken], training, **words)
            else:
                values[given], step = layer.forward(values[taken[0]], training, **words)
        except (TypeError, ValueError) as error:
            raise record.told(error, layer) from None
        steps.append((layer, step))
        for number in last:
            del values[number]

    def backward(dy: Any, input_grad: bool = True) -> Any:
        gradients: dict[int, np.ndarray] = {}
        for number, gradient in zip(outputs, (dy,) if single else dy):
            if gradient is not None:
                _add(gradients, number, gradient)
        wanted = _wanted(runs, steps, len(inputs), input_grad)
        for _, _, taken, given, joins, _ in reversed(runs):
            _, step = steps.pop()  # with it go the arrays that the layer had saved
            gradient = gradients.pop(given, None)
            if gradient is None or not wanted[given]:
                continue
            if joins:
                asked = [wanted[number] for number in taken]
                for number, part, wish in zip(taken, step(gradient, asked), asked):
                    if wish:
                        _add(gradients, number, part)
            else:
                gradient = step(gradient, wanted[taken[0]])
                if gradient is not None:
                    _add(gradients, taken[0], gradient)
        if not input_grad:
            return None
        found = [gradients[i] if i in gradients else np.zeros(*blank) for i, blank in enumerate(kinds)]
        return tuple(found) if len(found) > 1 else found[0]

    kinds = [(x.shape, x.dtype) for x in inputs]
    y = values[outputs[0]] if single else tuple(values[number] for number in outputs)
    return y, once_through(steps, backward, y)


def _wanted(runs: list[Run], steps: list, inputs: int, input_grad: bool) -> dict[int, bool]:
    """Which values' gradients anybody takes: all, or those that depend on parameters that learn."""
    if input_grad:
        return defaultdict(lambda: True)
    wanted = dict.fromkeys(range(inputs), False)
    for (_, _, taken, given, _, _), (layer, step) in zip(runs, steps):
        wanted[given] = wanted[taken[0]] or (len(taken) > 1 and any(wanted[number] for number in taken)) or learns(layer, step)
    return wanted


def _add(gradients: dict[int, np.ndarray], number: int, gradient: np.ndarray) -> None:
    if number in gradients:
        gradient = sum_pass(gradient.shape, gradient.dtype)(gradients[number], gradient)
    gradients[number] = gradient
