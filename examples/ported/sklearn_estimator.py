"""A grid search over a small convolutional network, made an estimator; ported from a scikit-learn program: `originals/sklearn_estimator.py`.

scikit-learn's rules are few: `__init__` keeps its arguments under their names, `fit` returns self, what is learned ends in `_`.

    pip install scikit-learn
    python examples/ported/sklearn_estimator.py
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import fastconv as fc
from fastconv import models, optim, train


class ConvClassifier(ClassifierMixin, BaseEstimator):
    def __init__(self, epochs=5, lr=2e-3, seed=0):
        self.epochs, self.lr, self.seed = epochs, lr, seed

    def fit(self, X, y):
        fc.seed(self.seed)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self.model_ = models.small_cnn(in_channels=1, size=8, classes=len(self.classes_))
        optimizer = optim.Adam(self.model_.parameters(), self.lr)
        train.fit(self.model_, (images(X), labels), epochs=self.epochs, optimizer=optimizer, verbose=0)
        return self

    def predict(self, X):
        return self.classes_[train.predict(self.model_, images(X)).argmax(axis=1)]


def images(X) -> np.ndarray:
    """Rows of 64 numbers as (N, 1, 8, 8) float32."""
    return np.asarray(X, np.float32).reshape(-1, 1, 8, 8)


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    pipeline = make_pipeline(MinMaxScaler(), ConvClassifier(epochs=3))
    search = GridSearchCV(pipeline, {"convclassifier__lr": [1e-4, 3e-3]}, cv=2)
    search.fit(X_train[:600], y_train[:600])
    print("best:", search.best_params_)
    model = pipeline.set_params(**search.best_params_, convclassifier__epochs=8).fit(X_train, y_train)
    print(f"accuracy {model.score(X_test, y_test):.3f}")
