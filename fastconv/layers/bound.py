"""The bound passes that a layer keeps for the inputs that it meets."""

from collections.abc import Callable, Hashable
from typing import Any

KEPT = 16  # more shapes than a training and its validation meet; then the layer starts anew


class BoundPasses(dict):
    """Passes by what they were bound to. Left behind when a layer is copied or pickled: they are made again from its options."""

    def of(self, key: Hashable, bind: Callable[[], Any]) -> Any:
        """The passes for this key, made now if the layer has not met it."""
        found = self.get(key)
        if found is None:
            if len(self) >= KEPT:
                self.clear()
            found = self[key] = bind()
        return found

    def __deepcopy__(self, memo: dict) -> "BoundPasses":
        return BoundPasses()

    def __reduce__(self) -> tuple:
        return BoundPasses, ()
