"""Parameters, buffers, random streams and layers inside a layer, found by name."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import numpy as np

from fastconv.geometry import flag
from fastconv.layers.parameter import Buffer, Parameter
from fastconv.layers.state import Loaded, Rename, taken
from fastconv.reflexes import answered
from fastconv.streams import Stream


class Named:
    """What is an attribute, or in a list or dict that is one, has a name: "weight", "conv1.weight", "blocks.0.conv1.weight"."""

    def named_children(self) -> Iterator[tuple[str, "Named"]]:
        """The layers inside this one, by name."""
        return self._members(Named)

    def children(self) -> Iterator["Named"]:
        """The layers inside this one."""
        return (child for _, child in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, "Named"]]:
        """This layer, named "", and all layers inside it and inside those, each once, under its first name."""
        seen = set()
        for name, layer in self._all(""):
            if layer not in seen:
                seen.add(layer)
                yield name, layer

    def modules(self) -> Iterator["Named"]:
        """This layer and all layers inside it and inside those, each once."""
        return (layer for _, layer in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        return self._named(Buffer)

    def named_streams(self) -> Iterator[tuple[str, Stream]]:
        """The random streams inside, whose states belong in a checkpoint."""
        return self._named(Stream)

    def parameters(self) -> list[Parameter]:
        """Each parameter once, in the order of their names' first appearance."""
        return list(dict.fromkeys(p for _, p in self.named_parameters()))

    @property
    def num_parameters(self) -> int:
        """How many numbers the parameters hold; what is shared counts once."""
        return sum(p.size for p in self.parameters())

    @answered("zero_grad")
    def zero_grad(self) -> None:
        """Mark the gradients of all parameters as zero, as `optimizer.zero_grad` does of its own."""
        for p in self.parameters():
            p.zero_grad()

    @property
    def frozen(self) -> bool:
        """Whether all parameters and buffers inside are frozen; assigning it freezes or frees them all.

        Frozen, a parameter takes no gradient, and a BatchNorm normalizes with its running statistics in training, too, and leaves them. Dropout
        drops all the same. Without anything inside that could move, True.
        """
        return all(entry.frozen for _, entry in self._state())

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        frozen = flag(type(self).__name__, "frozen", frozen)
        for _, entry in self._state():
            entry.frozen = frozen

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers, by name (PyTorch's names, shapes and order)."""
        return {name: entry.value.copy(order="C") for name, entry in self._state()}

    def load_state_dict(self, state: Mapping[str, np.ndarray], strict: bool = True, *, rename: Rename | None = None) -> Loaded:
        """Take over all values, or none: what is missing, unexpected, of a wrong shape or dtype is listed in one ValueError.

        state: arrays or tensors by name. rename: where the names in the state are others, a dict of their beginnings and what the model has
        instead, `{"module.": "", "backbone.": "features."}` (the longest that fits counts), or a function from the one to the other.
        strict=False: names that only one side has are left out, and returned. A BatchNorm's num_batches_tracked may always be missing.
        """
        own = dict(self._state())
        given, loaded = taken(state, {name: entry.value for name, entry in own.items()}, rename, flag("load_state_dict", "strict", strict))
        for name, value in given.items():
            own[name].value = value
        return loaded

    def _state(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        return self._named((Parameter, Buffer))

    def _all(self, name: str) -> Iterator[tuple[str, "Named"]]:
        yield name, self
        for inner, child in self.named_children():
            yield from child._all(f"{name}.{inner}" if name else inner)

    def _named(self, kind: type | tuple[type, ...]) -> Iterator:
        yield from self._members(kind)
        for prefix, child in self.named_children():
            for name, entry in child._named(kind):
                yield f"{prefix}.{name}", entry

    def _members(self, kind: type | tuple[type, ...]) -> Iterator:
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, (list, tuple)) or type(value) in DICTS:
                yield from _held(name, value, kind)


DICTS = dict, OrderedDict  # not the layers' own kinds, which hold options and passes


def _held(name: str, holder: list | tuple | dict, kind: type | tuple[type, ...]) -> Iterator:
    """The entries of a list or dict, and of those that it holds."""
    for key, entry in holder.items() if isinstance(holder, dict) else enumerate(holder):
        if isinstance(entry, kind):
            yield f"{name}.{key}", entry
        elif isinstance(entry, (list, tuple)) or type(entry) in DICTS:
            yield from _held(f"{name}.{key}", entry, kind)
