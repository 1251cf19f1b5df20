"""What is prefetched for the next item: all of it, each cache line by one tile, and nothing outside of the array."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import lawful

from fastconv.kernels.simd.ahead import LINE, lines_ahead, rows_ahead


@lawful
@given(st.integers(0, 300), st.integers(-50, 400), st.integers(-50, 500), st.integers(0, 9))
def test_tiles_share_the_lines(size, first, stop, tiles):
    ahead = lines_ahead.py_func(np.empty(size, np.float32), first, stop, tiles)
    shares = [range(ahead.start + t * ahead.step, min(ahead.start + (t + 1) * ahead.step, ahead.stop)) for t in range(max(1, tiles))]
    assert [i for share in shares for i in share] == list(range(size))[max(0, first) : max(0, stop)]
    assert ahead.step % LINE == 0


@lawful
@given(st.integers(0, 300), st.integers(0, 9))
def test_tiles_share_the_rows(count, tiles):
    ahead = rows_ahead.py_func(np.empty(0, np.float32), 0, 32, 16, count, tiles)
    assert [r for t in range(max(1, tiles)) for r in range(count)[t * ahead.step : (t + 1) * ahead.step]] == list(range(count))
