"""Where does a net look? The gradient of a digit's score by the pixels, and a picture of it (pip install "fastconv[plot]").

The way back of a pass gives, besides the parameters' gradients, that of the input; `param_grad=False` leaves the parameters' out:

    scores, backward = model.forward(x, training=False)
    dx = backward(d_scores, param_grad=False)        with d_scores = 1 at the class that is asked for, else 0

`fastconv.saliency` is these two lines, and the largest of |dx| over the channels.

    python examples/saliency.py [picture.png]
"""

import sys

import numpy as np

import fastconv as fc
from fastconv import data, models, plot, train

fc.seed(0)
(x, y), (x_test, y_test) = data.digits()
model = models.small_cnn()
train.fit(model, (x, y), epochs=5, verbose=0)
print(f"test {train.evaluate(model, x_test, y_test)}")

chosen = [int(np.flatnonzero(y_test == digit)[0]) for digit in range(10)]
maps = fc.saliency(model, x_test[chosen], y_test[chosen])
ink = (x_test[chosen, 0] > 0.5).mean()
middle = maps[:, :, 2:6].sum() / maps.sum()
print(f"a digit's ink covers {100 * ink:.0f} % of its pixels; the middle four of eight columns hold {100 * middle:.0f} % of what counts")
if len(sys.argv) > 1:
    plot.save(sys.argv[1], plot.saliency, x_test[chosen], maps, labels=y_test[chosen], size=(7, 4))
    print(f"picture: {sys.argv[1]}")
