"""Lessons about backpropagation through a convolution, answered by numbers that are computed while you read."""

from fastconv.lessons import shared_weights, two_gradients

LESSONS = {module.LESSON.topic: module.LESSON for module in (two_gradients, shared_weights)}

__all__ = ["LESSONS"]
