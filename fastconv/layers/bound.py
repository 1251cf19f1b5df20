"""The bound passes that a layer keeps for the inputs that it meets."""

from collections.abc import Callable, Hashable
from typing import Any

KEPT = 16  # more shapes than a training and its validation meet; then all are dropped


class Options(dict):
    """What a layer was made with: read-only, as passes are bound to it."""

    def _refuse(self, *args, **words):
        raise TypeError("a layer's options cannot be changed: make a new layer")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: dict) -> "Options":
        return Options(self)

    def __reduce__(self) -> tuple:
        return Options, (dict(self),)


class BoundPasses(dict):
    """Passes by what they were bound to. Not copied or pickled with a layer: they are made again from its options."""

    def of(self, key: Hashable, bind: Callable[[], Any]) -> Any:
        """The passes for this key, made now if the layer has not met it."""
        found = self.get(key)
        return self.keep(key, bind()) if found is None else found

    def keep(self, key: Hashable, value: Any) -> Any:
        if len(self) >= KEPT:
            self.clear()
        self[key] = value
        return value

    def __deepcopy__(self, memo: dict) -> "BoundPasses":
        return BoundPasses()

    def __reduce__(self) -> tuple:
        return BoundPasses, ()
