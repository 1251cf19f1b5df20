"""A convnet on MNIST, ported from a Keras script: `originals/keras_fit.py`. 32 of 42 lines are edited.

Layers are told their inputs' channels, activations are layers, and the loss takes scores without a softmax. Images are (N, C, H, W).

    python examples/ported/keras_fit.py FOLDER
"""

import sys

import numpy as np

import fastconv as fc
from fastconv import data, layers, optim, train

fc.seed(0)

(x_train, y_train), (x_test, y_test) = data.mnist(sys.argv[1] if len(sys.argv) > 1 else "data")
held = len(x_train) // 10

model = layers.Sequential(
    *[
        layers.Conv2d(1, 16, 3),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Conv2d(16, 32, 3),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Linear(32 * 5 * 5, 10),
    ]
)
print(model.summary((1, 1, 28, 28)))

optimizer = optim.Adam(model.parameters(), lr=1e-3)
history = train.fit(
    model,
    x_train[:-held],
    y_train[:-held],
    batch_size=128,
    epochs=12,
    validation_data=(x_train[-held:], y_train[-held:]),
    optimizer=optimizer,
    callbacks=[
        train.EarlyStopping(patience=3, restore_best_weights=True),
        train.Scheduler(optim.Plateau(optimizer, factor=0.5, patience=1)),
        lambda logs: print(f"epoch {logs['epoch']}: {logs['val_accuracy']:.4f}"),
    ],
)
loss, accuracy = train.evaluate(model, x_test, y_test)
print(f"test loss {loss:.4f}, accuracy {accuracy:.4f}")
labels = np.argmax(train.predict(model, x_test[:10]), axis=1)
print("the first ten:", labels)
fc.save(model, "mnist.weights.npz")
