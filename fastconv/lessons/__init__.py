"""Lessons about backpropagation through a convolution, answered by numbers that are computed while you read."""

from fastconv.lessons import dense, fewer_products, input_gradient, max_pool, shared_weights, two_gradients, whole_net
from fastconv.lessons.blocks import Lesson

LESSONS: dict[str, Lesson] = {
    module.LESSON.topic: module.LESSON for module in (two_gradients, shared_weights, dense, input_gradient, max_pool, whole_net, fewer_products)
}

__all__ = ["LESSONS", "Lesson"]
