"""Training: one step, many epochs, evaluation, prediction."""

from fastconv.train import metrics
from fastconv.train.loop import fit
from fastconv.train.scores import Score, evaluate, predict
from fastconv.train.steps import step

__all__ = ["Score", "evaluate", "fit", "metrics", "predict", "step"]
