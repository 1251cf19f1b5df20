"""Your own pictures: from a folder with a sub-folder per class to a saved model that tells what new pictures show.

`data.image_folder` reads PNG, JPEG and others of any size, turns them as the camera was held, scales and cuts them to one size, and calls the
classes what their folders are called. The pictures stay bytes; each batch is made floats in 0..1. Here the folder is drawn first: circles,
squares and triangles on darker ground, of many sizes and colors, in two formats. With a folder of yours, the command line does it all:

    python -m fastconv train --data FOLDER --size 24
    python -m fastconv predict FOLDER_OF_NEW_PICTURES

    python examples/own_pictures.py                needs Pillow: pip install "fastconv[images]"
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fastconv as fc
from fastconv import data, models, train

random = np.random.default_rng(0)


def drawn(kind: str) -> Image.Image:
    """A picture of 60 to 90 pixels a side with one bright shape somewhere."""
    width, height = (int(side) for side in random.integers(60, 90, 2))
    picture = Image.new("RGB", (width, height), tuple(random.integers(0, 90, 3).tolist()))
    r = int(random.integers(14, 20))
    x, y = width // 2 + int(random.integers(-9, 10)), height // 2 + int(random.integers(-9, 10))
    pen, color = ImageDraw.Draw(picture), tuple(random.integers(150, 256, 3).tolist())
    if kind == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), color)
    elif kind == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), color)
    else:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], color)
    return picture


def fill(folder: Path, count: int) -> None:
    """folder/circle/0.png, folder/circle/1.jpg, ..."""
    for kind in ("circle", "square", "triangle"):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            drawn(kind).save(folder / kind / f"{i}.{'jpg' if i % 2 else 'png'}")


with tempfile.TemporaryDirectory() as top:
    folder = Path(top) / "shapes"
    fill(folder, 100)
    pictures = data.image_folder(folder, size=24)  # a fixed random fifth of each class is there to test with
    print(pictures)

    fc.seed(0)
    model = models.small_cnn(in_channels=3, size=24, classes=len(pictures.class_names))
    normalise = data.Normalise.of(pictures.train[0])
    train.fit(model, pictures.train, epochs=12, normalise=normalise, flip=0.5, shift=2, class_weights="balanced", verbose=0)
    x_test, y_test = pictures.test
    print(f"test accuracy {100 * train.evaluate(model, normalise(x_test), y_test).accuracy:.1f} %")

    # A later program: the same net, the saved weights, pictures that nobody has seen.
    fc.save(model, Path(top) / "shapes.npz")
    restored = models.small_cnn(in_channels=3, size=24, classes=3)
    restored.load_state_dict(fc.load(Path(top) / "shapes.npz"))
    new = {kind: Path(top) / f"new-{kind}.png" for kind in pictures.class_names}
    for kind, path in new.items():
        drawn(kind).save(path)
    scores = train.predict(restored, normalise(data.images(list(new.values()), size=24)))
    for path, best in zip(new.values(), scores.argmax(axis=1)):
        print(f"{path.name}: {pictures.class_names[best]}")
