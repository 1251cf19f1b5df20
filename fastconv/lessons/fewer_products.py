"""Four outputs, six multiplications: how a 3x3 convolution does with a quarter of its products."""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from fastconv import ops
from fastconv.kernels.winograd.matrices import POINTS, cook_toom
from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text, numbers, same, signed, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

D, W, DY = np.array([3.0, -1, 4, 1, -5, 9]), np.array([2.0, 7, 1]), np.array([1.0, 0, -2, 1])
CUSTOMARY = tuple(map(Fraction, (0, 1, -1, 2, -2)))
CHANNELS = 64


def matrices(points: tuple = POINTS, dtype=np.float64) -> tuple[np.ndarray, ...]:
    """A^T (4, 6), G (6, 3) and B^T (6, 6)."""
    return tuple(np.array([[float(entry) for entry in row] for row in matrix], dtype) for matrix in cook_toom(4, 3, points))


def sliding(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y[i] = sum over k of d[i + k] * w[k]"""
    return np.array([d[i : i + len(w)] @ w for i in range(len(d) - len(w) + 1)])


def operations(C: int) -> tuple[int, int, int]:
    """Multiplications for 16 outputs of C channels from C channels: by definition; by Winograd: products, then those of its transforms.

    B^T d B is 12 times six numbers by a 6x6 matrix, A^T M A ten times six by a 4x6: counted as if no entry were 0 or 1.
    """
    return 16 * 9 * C * C, 36 * C * C, C * 12 * 36 + C * 10 * 24


def errors(offset: float = 0.0) -> dict[str, float]:
    """Relative errors, in L2, of tiles of 4x4 outputs computed in float32 from inputs around `offset`, against float64."""
    rng = np.random.default_rng(0)
    d, w = rng.standard_normal((50, CHANNELS, 6, 6)) + offset, rng.standard_normal((CHANNELS, 8, 3, 3))
    d, w = d.astype(np.float32), w.astype(np.float32)

    def direct(d: np.ndarray, w: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(d, (3, 3), (2, 3))  # (tiles, channels, 4, 4, 3, 3)
        return np.einsum("tchwkl,cnkl->tnhw", windows, w)

    def winograd(points: tuple) -> np.ndarray:
        AT, G, BT = matrices(points, np.float32)
        V, U = BT @ d @ BT.T, G @ w @ G.T
        return AT @ np.einsum("tcij,cnij->tnij", V, U) @ AT.T

    right = direct(d.astype(np.float64), w.astype(np.float64))
    found = {"by definition": direct(d, w), "0, 1, -1, 2, -2": winograd(CUSTOMARY), "0, 2/3, -2/3, 3/2, -3/2": winograd(POINTS)}
    return {name: float(np.linalg.norm(y - right) / np.linalg.norm(right)) for name, y in found.items()}


def blocks() -> Iterator[Block]:
    AT, G, BT = matrices()
    yield Step("One row, by definition")
    y = sliding(D, W)
    yield Text("""
        Three taps `w` slide over six inputs `d`: four outputs, three multiplications each, twelve in all.
    """)
    yield Board(f"d = {numbers(D)}\nw = {numbers(W)}\n" + "\n".join(
        f"y[{i}] = " + " + ".join(f"{signed(D[i + k])} * {W[k]:g}" for k in range(3)) + f" = {y[i]:g}" for i in range(4)))  # fmt: skip

    yield Step("The same with six")
    yield Text("""
        Two polynomials of degrees 2 and 3 have a product of degree 5. To find its six coefficients one may multiply each coefficient with each,
        twelve products; or take the values of both at six points, multiply these, six products, and find the polynomial through the results. The
        points used here are 0, 2/3, -2/3, 3/2, -3/2 and "infinity", which stands for the leading coefficient (Cook 1966, Toom 1963).

        A convolution's row is that computation read backwards (transposed: Winograd 1980). Three matrices come of it, which depend on the points
        alone. `G w` are the values of the taps as a polynomial, over a number that depends on the point. `B^T` takes the inputs to six numbers,
        and `A^T` six products to four outputs:
    """)
    yield Board("A^T =\n" + "\n".join("  ".join(f"{entry!s:>6}" for entry in row) for row in cook_toom(4, 3, POINTS)[0]))
    values, products = (G @ W, BT @ D), (G @ W) * (BT @ D)
    yield table(
        ("0", "2/3", "-2/3", "3/2", "-3/2", "infinity"),
        *(tuple(f"{value:.4f}" for value in column) for column in (*values, products)),
        heads=("point", "G w", "B^T d", "product"),
    )
    yield Text("And `A^T` times the products is `y`:")
    yield Board(f"y = {numbers(AT @ products, '.6g')}")
    yield same("six products give the four outputs of twelve", AT @ products, y)

    yield Step("What it saves, and when")
    yield Text("""
        For 3x3 taps a matrix stands on both sides, `y = A^T [(G w G^T) * (B^T d B)] A` (Lavin and Gray 2015): 6x6 inputs, 4x4 outputs, 36
        products for 144. The matrices cost multiplications, too. But a layer has channels: `B^T d B` is made once for each input channel and read
        by every output channel, the sum over input channels runs between the transforms, and `G w G^T` is made once for all tiles of all
        images. For 16 outputs of as many channels as inputs:
    """)
    yield Picture("tiles", "Four tiles on their way: the window of each becomes a row of 36 matrices, which are multiplied one by one; the rows of "
                  "the 36 results become the tile.", draw, (9, 3.4))  # fmt: skip
    counts = {C: operations(C) for C in (1, 4, 16, 64)}
    yield table(
        tuple(counts), *zip(*counts.values()), tuple(f"{direct / (products + more):.2f}" for direct, products, more in counts.values()),
        heads=("channels", "by definition", "products", "transforms", "times fewer"),
    )  # fmt: skip
    yield Text("""
        So one channel pays nothing, and 64 pay nearly the whole factor of four. (Many entries are 0, and those of a point and its negative share
        their work: in fact transforms cost a third of that, and eight channels are worth it.)
    """)

    yield Step("The way back needs no new matrix")
    dw = (DY[None] @ np.lib.stride_tricks.sliding_window_view(D, 4).T)[0]
    yield Text("""
        The input's gradient is a convolution with the flipped taps: the same again. The weights' gradient slides `dy`, four numbers, over the
        inputs: three results of four products each. Exchange the roles of taps and outputs, and the transposed matrices do it, again with six:
        `dw = G^T [(B^T d) * (A dy)]`.
    """)
    yield Board(f"dy = {numbers(DY)}\ndw = {numbers(G.T @ ((BT @ D) * (AT.T @ DY)), '.6g')}")
    yield same("six products give the gradient of three weights", G.T @ ((BT @ D) * (AT.T @ DY)), dw)
    yield same("as ops.conv1d_weight_grad does", dw, ops.conv1d_weight_grad(D[None, None], DY[None, None], 3)[0, 0])

    yield Step("What it costs: rounding")
    plain, far = errors(), errors(1000.0)
    yield Text(f"""
        In exact numbers any six points will do. In float32 each number is rounded, and what the transforms enlarge and cancel again enlarges the
        roundings. Points far from 1 in size make large powers; a point and its inverse keep rows of like size. Relative errors (L2) of {CHANNELS}
        channels, inputs around 0, and around 1000:
    """)
    yield table(
        tuple(plain), tuple(f"{error:.1e}" for error in plain.values()), tuple(f"{error:.1e}" for error in far.values()),
        heads=("points, and infinity", "around 0", "around 1000"),
    )  # fmt: skip
    yield Text("""
        Training does not notice 1e-6: a weight's step is rounded more. But two things differ from the definition. Whole numbers do not stay whole:
        2/3 has no exact float. And a tile's outputs share their six by six inputs: one that is infinite or NaN spoils all sixteen, also those that
        never read it. Where either matters, `fc.algorithm("direct")` keeps to the definition.
    """)


def draw(figure: "Figure") -> None:
    image, points, outputs = figure.subplots(1, 3)
    for ax, size, title in (
        (image, 10, "x: windows of 6x6, one for each tile"),
        (points, 6, "36 matrices V[k], tiles x channels"),
        (outputs, 8, "y: tiles of 4x4"),
    ):
        ax.set(xlim=(0, size), ylim=(size, 0), xticks=[], yticks=[], aspect="equal")
        ax.set_title(title, fontsize=9)
        for line in range(size + 1):
            ax.axhline(line, color="#c8d0d8", lw=0.6)
            ax.axvline(line, color="#c8d0d8", lw=0.6)
    for number, (h, w) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        colour = ("#1f5fa8", "#c0392b", "#2e8b57", "#b8860b")[number]
        image.add_patch(_square(w, h, 6, colour))
        outputs.add_patch(_square(w, h, 4, colour))
        for k in range(36):  # a row of each point's matrix
            points.plot((k % 6 + 0.15, k % 6 + 0.85), [k // 6 + 0.2 + 0.2 * number] * 2, color=colour, lw=1.6)


def _square(x: float, y: float, size: float, colour: str):
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.08, y + 0.08), size - 0.16, size - 0.16, fill=False, ec=colour, lw=2)


LESSON = Lesson(
    "fewer-products",
    "Four outputs, six multiplications: past the definition",
    "A 3x3 convolution needs nine products for each output, and a processor does only so many a second. How can a library be faster than that?",
    "It needs fewer. Four neighboring outputs of three taps take six products instead of twelve, and in two dimensions sixteen outputs take 36 "
    "instead of 144, if inputs and weights are first carried to another place and the results carried back. With many channels the carrying is "
    "cheap; the price is a little more rounding.",
    blocks,
)
