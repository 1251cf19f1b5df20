"""Optimizers, in one pass over the flat buffers of the parameters, and schedules of their learning rates."""

from fastconv import reflexes
from fastconv.optim.adam import Adam, AdamW
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.rmsprop import RMSprop
from fastconv.optim.schedules import Cosine, Exponential, Linear, MultiStep, OneCycle, Plateau, Schedule, Step
from fastconv.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Cosine", "Exponential", "Linear", "MultiStep", "OneCycle", "Optimizer", "Plateau", "RMSprop", "Schedule", "Step"]

__getattr__ = reflexes.of_module("optim", __name__)
