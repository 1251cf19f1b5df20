"""What the `forward` of a `Module` is written with: values that are not there yet, and the record of the layers that will make them.

    x = self.pool(relu(self.conv1(x)))        number 0: x        nodes: (conv1, (0,)) -> 1   (relu, (1,)) -> 2   (pool, (2,)) -> 3
    return x + self.shortcut(x)                                         (shortcut, (3,)) -> 4   (sum, (3, 4)) -> 5

Nothing runs until `forward` has returned: then it is known who else reads a value, and neighbors may run as one pass.
"""

import threading
from collections.abc import Callable
from typing import Any

Node = tuple[Any, tuple[int, ...]]  # a Layer, or a Join of several values, and the numbers of what it takes; what it gives has the next number


class Record:
    """What one pass has noted. name_of: a layer's name, for messages; shapes: of the inputs; training: whether it is a pass of training.

    known: the nodes of an earlier pass and the shapes of its values. A layer tells its shape in some 20 us, a long net would wait for `x.size(0)`.
    """

    def __init__(
        self, name_of: Callable[[Any], str], shapes: list[tuple[int, ...]], training: bool, known: tuple[list[Node], list[tuple]] = ([], [])
    ):
        self.name_of, self.inputs, self.training = name_of, len(shapes), training
        self.nodes: list[Node] = []
        self.shapes = shapes  # of the values, as far as anybody has asked
        self._known = known

    def shape(self, number: int) -> tuple[int, ...]:
        """Of a value, as the layers foretell it."""
        nodes, shapes = self._known
        for i in range(len(self.shapes), number + 1):
            layer, taken = node = self.nodes[i - self.inputs]
            if i < len(shapes) and nodes[i - self.inputs] == node:
                self.shapes.append(shapes[i])
                continue
            shapes = ()
            try:
                self.shapes.append(layer.output_shape(*[self.shapes[n] for n in taken]))
            except (TypeError, ValueError) as error:
                raise self.told(error, layer) from None
        return self.shapes[number]

    def told(self, error: Exception, layer: Any) -> Exception:
        """The error with the name of the layer that raised it: "Net.layer1.0.conv2: ..."."""
        return type(error)(f"{self.name_of(layer)}: {error}") if type(error) in (TypeError, ValueError) else error


class _UnderWay(threading.local):
    """What this thread records now."""

    record: Record | None = None


under_way = _UnderWay()


class Recorded:
    """A value by its number in a record. (`layers.traced.Traced` is what a user's `forward` is given.)"""

    __slots__ = ("number", "record")

    def __init__(self, record: Record, number: int):
        self.record, self.number = record, number

    def through(self, layer: Any, *others: "Recorded") -> "Recorded":
        """What the layer will make of this value and the others."""
        record = self.record
        if record is not under_way.record or (others and any(other.record is not record for other in others)):
            raise RuntimeError("Module: a value of a forward pass that has ended is used again: return it from forward, among the outputs")
        taken = (self.number, *[other.number for other in others]) if others else (self.number,)
        record.nodes.append((layer, taken))
        return type(self)(record, record.inputs + len(record.nodes) - 1)

    def become(self, other: "Recorded") -> "Recorded":
        """After an operation in place every name of this value has its result, as in PyTorch."""
        self.number = other.number
        return self
