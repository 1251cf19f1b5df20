"""Fast inference: `fc.compile(model, input_shape)` makes a copy of a model that only infers."""

from fastconv.inference.compiled import Compiled, compile

__all__ = ["Compiled", "compile"]
