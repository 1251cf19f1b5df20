"""Random geometries for Hypothesis."""

from geometries import Convolution, Pooling
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

lawful = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


@st.composite
def convolutions(draw) -> Convolution:
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 3, 17)))  # 17: depthwise, more than lanes
    most = 1 if groups == 17 else 12
    N, IC, OC = draw(st.integers(1, 3)), groups * draw(st.integers(1, min(most, 3))), groups * draw(st.integers(1, most))

    def each(least, most):
        return tuple(draw(st.integers(least, most)) for _ in range(rank))

    extent, kernel, stride, dilation, before, after = each(1, 7), each(1, 3), each(1, 3), each(1, 3), each(0, 3), each(0, 3)
    padding = draw(st.sampled_from((tuple(zip(before, after)), before, "same", "valid")))
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular")))
    words = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    case = Convolution("random", (N, IC, *extent), (OC, IC // groups, *kernel), words)
    assume(has_output(case))
    return case


@st.composite
def poolings(draw) -> Pooling:
    rank = draw(st.integers(1, 3))

    def each(least, most):
        return tuple(draw(st.integers(least, most)) for _ in range(rank))

    padding = draw(st.sampled_from((tuple(zip(each(0, 2), each(0, 2))), each(0, 1), "same")))
    words = {"stride": each(1, 4), "padding": padding, "dilation": each(1, 2), "ceil_mode": draw(st.booleans())}
    case = Pooling("random", (draw(st.integers(1, 3)), draw(st.integers(1, 5)), *each(1, 7)), each(1, 4), words)
    assume(has_output(case))
    return case


def has_output(case) -> bool:
    try:
        return bool(case.g)
    except ValueError:
        return False
