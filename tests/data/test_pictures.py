"""Pictures in files: what each kind becomes, pixel by pixel, and which are refused."""

import io
import sys

import numpy as np
import pytest

from fastconv import data
from fastconv.data import FileFormatError, pictures

Image = pytest.importorskip("PIL.Image")

random = np.random.default_rng(3)
COLORS = random.integers(0, 256, (8, 8, 3), np.uint8)
GRAY = random.integers(0, 256, (8, 8), np.uint8)


def saved(path, array, mode=None, **words):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **words)
    return path


def as_color(gray):
    return np.repeat(gray[..., None], 3, axis=2)


def with_palette(path):
    """Colors 0 to 63 of a palette, of which one is transparent."""
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8), "P")
    palette = random.integers(0, 256, (256, 3), np.uint8)
    image.putpalette(palette.tobytes())
    image.save(path, transparency=b"\x00" + b"\xff" * 63)
    return palette[np.arange(64)].reshape(8, 8, 3)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.TIFF", "a.gif"])
def test_a_picture_without_loss_is_read_to_the_bit(tmp_path, name):
    array = as_color(GRAY) if name == "a.gif" else COLORS
    x = data.images(saved(tmp_path / name, array), 8)
    assert (x.shape, x.dtype) == ((1, 3, 8, 8), np.uint8)
    np.testing.assert_array_equal(x[0].transpose(1, 2, 0), array)


def test_palettes_transparency_and_gray_become_colors(tmp_path):
    alpha = np.concatenate([COLORS, random.integers(0, 256, (8, 8, 1), np.uint8)], axis=2)
    colors = with_palette(tmp_path / "palette.png")
    for path, expected in (
        (saved(tmp_path / "alpha.png", alpha), COLORS),
        (tmp_path / "palette.png", colors),
        (saved(tmp_path / "gray.png", GRAY), as_color(GRAY)),
        (saved(tmp_path / "bits.png", GRAY > 99), as_color((GRAY > 99) * np.uint8(255))),
    ):
        np.testing.assert_array_equal(data.images(path, 8)[0].transpose(1, 2, 0), expected, err_msg=path.name)


def test_gray_is_the_brightness_people_see(tmp_path):
    x = data.images(saved(tmp_path / "a.png", COLORS), 8, grayscale=True)
    assert x.shape == (1, 1, 8, 8)
    np.testing.assert_allclose(x[0, 0], COLORS @ [0.299, 0.587, 0.114], atol=1)


def test_cmyk_is_converted(tmp_path):
    flat = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    x = data.images(saved(tmp_path / "a.jpg", flat, "CMYK", quality=100), 8)
    np.testing.assert_allclose(x[0].transpose(1, 2, 0), flat, atol=6)


def test_16_bits_are_scaled_and_not_cut(tmp_path):
    wide = random.integers(0, 65536, (8, 8)).astype(np.uint16)
    x = data.images(saved(tmp_path / "a.png", wide), 8, grayscale=True)
    np.testing.assert_allclose(x[0, 0], wide / 257, atol=0.5001)
    with pytest.raises(FileFormatError, match=r"b\.tiff: not a picture that can be read, its pixels are floats of 32 bits"):
        data.images(saved(tmp_path / "b.tiff", wide.astype(np.float32)), 8)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_the_camera_was(tmp_path, turn):
    """EXIF orientation 1 to 8: what is stored, turned and mirrored, is what was seen."""
    seen = np.zeros((8, 8), np.uint8)
    seen[:4], seen[:4, :4] = 255, 128
    stored = {
        1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.T, 6: np.rot90(seen), 7: seen[::-1, ::-1].T, 8: np.rot90(seen, -1),
    }[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    for name in ("a.png", "a.jpg"):
        x = data.images(saved(tmp_path / name, np.ascontiguousarray(stored), exif=exif), 8, grayscale=True)
        np.testing.assert_allclose(x[0, 0], seen, atol=40, err_msg=name)


@pytest.mark.parametrize(("shape", "size", "rows", "columns"), [
    ((40, 80), 40, slice(0, 40), slice(20, 60)), ((80, 40), 40, slice(20, 60), slice(0, 40)), ((40, 80), (40, 20), slice(0, 40), slice(30, 50)),
])  # fmt: skip
def test_what_stands_out_on_both_sides_is_cut_off(tmp_path, shape, size, rows, columns):
    wide = random.integers(0, 256, (*shape, 3), np.uint8)
    x = data.images(saved(tmp_path / "a.png", wide), size)
    np.testing.assert_array_equal(x[0].transpose(1, 2, 0), wide[rows, columns])


def test_shrinking_averages(tmp_path):
    """No aliasing: a chessboard of single pixels becomes gray."""
    board = ((np.indices((64, 64)).sum(axis=0) % 2) * 255).astype(np.uint8)
    x = data.images(saved(tmp_path / "a.png", board), 8, grayscale=True)
    np.testing.assert_allclose(x, 127.5, atol=4)


def test_pictures_are_read_in_the_order_given(tmp_path):
    paths = [saved(tmp_path / f"{name}.png", np.full((4, 4), value, np.uint8)) for name, value in (("b", 1), ("a", 2), ("c", 3))]
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.png").touch()
    assert data.images(paths, 4, grayscale=True)[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.images(str(tmp_path), 4, grayscale=True)[:, 0, 0, 0].tolist() == [2, 1, 3]


def test_files_that_are_no_pictures_are_counted_and_named(tmp_path):
    good = saved(tmp_path / "good.png", COLORS)
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:-60])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "page.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # which Pillow would have another program draw
    (tmp_path / "notes.txt").touch()
    for name, message in (
        ("cut.png", "not a picture that can be read, .*"), ("text.png", "not a picture of any of the formats PNG, .*"),
        ("page.png", "not a picture of any of the formats PNG, .*"), ("notes.txt", "not a picture by its name"),
    ):  # fmt: skip
        with pytest.raises(FileFormatError, match=rf"^{tmp_path / name}: {message}$"):
            data.images(tmp_path / name)
    with pytest.raises(FileFormatError, match=r"^images: 3 of 4 files cannot be read as pictures: .*cut\.png: not .*; .*page\.png: not .*; .*text"):
        data.images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no gone\.png in .*, which holds cut\.png, good\.png"):
        data.images([good, tmp_path / "gone.png"])


def test_wrong_words_are_named(tmp_path):
    path = saved(tmp_path / "a.png", COLORS)
    for words, error, message in (
        ({"size": 0}, ValueError, "images: size must be between 1"),
        ({"size": 5000}, ValueError, "images: size must be at most 4096 pixels, got 5000"),
        ({"size": (8, 8, 3)}, ValueError, r"images: size must be an integer or a pair \(H, W\), got \(8, 8, 3\)"),
        ({"size": "8"}, TypeError, "images: size must be an integer"),
        ({"grayscale": 1}, TypeError, "images: grayscale must be True or False, got 1"),
        ({"paths": []}, ValueError, "images: paths is empty"),
        ({"paths": 3}, TypeError, "images: paths must be a path"),
    ):
        with pytest.raises(error, match=f"^{message}"):
            data.images(**({"paths": path} | words))


def test_without_pillow_the_line_to_install_it_is_told(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", COLORS)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'^reading pictures needs Pillow: pip install "fastconv\[images\]"$'):
        data.images(path)


def test_a_long_read_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    paths = [saved(tmp_path / f"{i}.png", COLORS) for i in range(3)]
    monkeypatch.setattr(pictures, "EVERY", 0.0)
    data.images(paths)
    assert capsys.readouterr().err.splitlines() == [f"reading pictures: {i} of 3" for i in (1, 2, 3)]

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    data.images(paths)
    assert sys.stderr.getvalue() == "\rreading pictures: 1 of 3\rreading pictures: 2 of 3\rreading pictures: 3 of 3\n"
