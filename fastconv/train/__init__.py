"""Training: one step, many epochs, evaluation, prediction."""

from fastconv.train.loop import Score, evaluate, fit, predict, step

__all__ = ["Score", "evaluate", "fit", "predict", "step"]
