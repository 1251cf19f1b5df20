"""Training: one step, many epochs, evaluation, prediction."""

from fastconv.train import metrics
from fastconv.train.callbacks import Callback, Checkpoint, EarlyStopping, KeepBest, Scheduler
from fastconv.train.history import History, Record
from fastconv.train.loop import fit
from fastconv.train.rates import RateTest, find_lr
from fastconv.train.scores import Score, evaluate, predict
from fastconv.train.steps import step

__all__ = [
    "Callback", "Checkpoint", "EarlyStopping", "History", "KeepBest", "RateTest", "Record", "Scheduler", "Score", "evaluate", "find_lr", "fit",
    "metrics", "predict", "step",
]  # fmt: skip
