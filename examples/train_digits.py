"""Train a small convolutional network on 1,437 handwritten digits, watch it on 360 others, and look at its mistakes.

`train.fit` does what training_loop.py spells out: batches in random order, forward, loss, backward, update. Unless told
otherwise it uses Adam with a learning rate that rises, then falls to almost nothing by the last step. The test images are
never trained on; where their loss rises while the training loss still falls, the network learns by heart.

    python examples/train_digits.py
"""

import numpy as np

import fastconv as fc
from fastconv import data, models, train

fc.seed(1)
(x, y), (x_test, y_test) = data.digits()
model = models.small_cnn()
print(model)
print(f"{sum(p.size for p in model.parameters()):,} parameters, {len(x):,} images to train on, {len(x_test)} to test with\n")


def tell(epoch: dict) -> None:
    """A callback gets each epoch's figures."""
    print(
        f"epoch {epoch['epoch']:2}   training loss {epoch['loss']:.3f}   test loss {epoch['val_loss']:.3f}   "
        f"test accuracy {100 * epoch['val_accuracy']:.1f} %   {epoch['images_per_second']:7,.0f} images/s"
    )


# shift=1: each image is moved by up to a pixel in each direction, anew in each epoch; more digits than there are.
history = train.fit(model, (x, y), epochs=8, validation=(x_test, y_test), shift=1, callbacks=[tell], verbose=0)

answers = train.predict(model, x_test).argmax(axis=1)
wrong = np.flatnonzero(answers != y_test)
print(f"\ntest accuracy {100 * np.mean(answers == y_test):.1f} %: {len(wrong)} of {len(y_test)} wrong, such as")

shades = np.array(list(" .:-=+*#%@"))
for i in wrong[:2]:
    print(f"\na {y_test[i]}, taken for a {answers[i]}:")
    for row in shades[(x_test[i, 0] * (len(shades) - 1)).astype(int)]:
        print("    " + "".join(np.repeat(row, 2)).rstrip())
