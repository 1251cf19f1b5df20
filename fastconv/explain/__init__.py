"""Where a number comes from: the sums behind outputs and gradients, and convolutions as fully connected layers."""

from fastconv.explain.dense import as_dense_matrix, derivative, fold, ties
from fastconv.explain.terms import Factor, Terms, input_terms, output_terms, weight_terms

__all__ = ["Factor", "Terms", "as_dense_matrix", "derivative", "fold", "input_terms", "output_terms", "ties", "weight_terms"]
