"""Does a Trace hold what it says, and refuse what it cannot hold?"""

import numpy as np
import pytest

from workloads.trace import Request, Trace, TraceError


def make(**change):
    arrays = {"arrival_ps": np.array([0, 5, 5]), "prompt": np.array([10, 600, 1024]), "output": np.array([1, 50, 3])}
    return Trace(**(arrays | change))


def test_requests_come_in_order_as_python_ints():
    trace = make(prefix=[(1,), (1, 2), (3, 4)], prefix_block=512)
    assert list(trace.requests())[1] == Request(1, 5, 600, 50, (1, 2))
    assert type(next(trace.requests()).prompt) is int


def test_slices_keep_times_and_hashes():
    trace = make(prefix=[(1,), (1, 2), (3, 4)], prefix_block=512)
    part = trace[1:]
    assert (len(part), part.arrival_ps.tolist(), part.prefix) == (2, [5, 5], [(1, 2), (3, 4)])
    assert len(trace.head(2)) == 2
    assert len(trace.head(99)) == 3
    assert trace.head(3).digest() == trace.digest() != part.digest()


def test_arrays_are_copied_and_frozen():
    mine = np.array([1, 2, 3])
    trace = make(arrival_ps=mine)
    mine[0] = 9
    assert trace.arrival_ps[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        trace.prompt[0] = 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrival_ps": np.array([0, 5, 4])}, r"arrival_ps\[2\]: wanted times in order"),
        ({"arrival_ps": np.array([-1, 5, 5])}, r"arrival_ps\[0\]: wanted 0 to"),
        ({"prompt": np.array([1, 0, 1])}, r"prompt\[1\]: wanted 1 to 10000000, got 0"),
        ({"output": np.array([1, 1, 10**8])}, r"output\[2\]: wanted 1 to"),
        ({"output": np.array([1.5, 1, 1])}, "output: wanted a 1-D array of integers, got 1-D of float64"),
        ({"output": np.array([1])}, "wanted arrays of one length"),
        ({"prefix": [(1,)], "prefix_block": 512}, "wanted arrays of one length"),
        ({"prefix": [(), (), ()]}, "prefix_block: wanted the tokens of one hashed block, got 0"),
    ],
)
def test_malformed_arrays_are_refused(change, message):
    with pytest.raises(TraceError, match=message):
        make(**change)


def test_overlong_requests_are_rejected():
    trace, counts = make().overlong(640, "reject")
    assert (trace.prompt.tolist(), counts) == ([10], {"rejected": 2, "clipped": 0})
    same, counts = make().overlong(2000, "error")
    assert (len(same), counts) == (3, {"rejected": 0, "clipped": 0})


def test_overlong_requests_are_clipped_in_the_prompt_first():
    trace, counts = make(prefix=[(1,), (1, 2), (3, 4)], prefix_block=512).overlong(640, "clip")
    assert counts == {"rejected": 0, "clipped": 2}
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([10, 590, 637], [1, 50, 3])
    assert trace.prefix == [(1,), (1,), (3,)]  # the last, partial block of each clipped prompt is another one now
    trace, _ = make().overlong(40, "clip")
    assert (trace.prompt.tolist(), trace.output.tolist()) == ([10, 1, 37], [1, 39, 3])
    for limit in range(2, 1100, 7):
        clipped, _ = make().overlong(limit, "clip")
        assert (clipped.prompt + clipped.output).max() <= limit
        assert clipped.prompt.min() >= 1
        assert clipped.output.min() >= 1


def test_overlong_requests_are_an_error_by_name():
    with pytest.raises(TraceError, match=r"request 1: wanted prompt \+ output of at most 640 tokens, got 600 \+ 50 \(2 of 3"):
        make().overlong(640, "error")
    with pytest.raises(TraceError, match="wanted error, reject or clip, got 'drop'"):
        make().overlong(640, "drop")
    with pytest.raises(TraceError, match="at least 2 tokens"):
        make().overlong(1, "clip")
