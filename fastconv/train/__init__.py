"""Training: one step, many epochs, evaluation, prediction."""

from fastconv.train import metrics
from fastconv.train.callbacks import Callback, Checkpoint, EarlyStopping, KeepBest, Scheduler
from fastconv.train.class_table import ClassTable, class_table
from fastconv.train.history import History, Record
from fastconv.train.loop import fit
from fastconv.train.rates import RateTest, find_lr
from fastconv.train.scores import Score, evaluate, predict
from fastconv.train.steps import step
from fastconv.train.trained import Evaluation, Predictions, Run

__all__ = [
    "Callback", "Checkpoint", "ClassTable", "EarlyStopping", "Evaluation", "History", "KeepBest", "Predictions", "RateTest", "Record", "Run",
    "Scheduler", "Score", "class_table", "evaluate", "find_lr", "fit", "metrics", "predict", "step",
]  # fmt: skip
