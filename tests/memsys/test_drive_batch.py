"""Does a batch of attends, priced at once for a system, take just as long as when its commands queue one by one?"""

from __future__ import annotations

import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from memsys.drive.nvme import Drive
from memsys.ssd import Ssd
from sim.offloads._attend import attend_ps


@settings(max_examples=300)
@given(
    st.sampled_from(["instattention", "mqsim", "simplessd"]),
    st.sampled_from(["pcie4_x4_measured", "pcie3_x4"]),
    st.sampled_from([1, 4, 32, 128]),
    st.integers(1, 80),
    st.integers(0, 5000),
    st.integers(0, 10**9),
    st.integers(1, 100_000),
    st.integers(1, 100_000),
)
def test_a_batch_ends_when_its_last_command_does(part, link, depth, commands, pages, engine_ps, sent, result):
    """To the picosecond where all commands find a slot of the queue; else no later."""
    memory = Ssd.from_data({"part": part, "link": link, "queue_depth": depth})
    env = simpy.Environment()
    drive = Drive(env, memory)
    for _ in range(commands):
        env.process(drive.attend(pages, engine_ps, sent, result))
    env.run()
    in_ps, out_ps = memory.link.transfer_ps(sent), memory.link.transfer_ps(result)
    closed = attend_ps(memory, commands, pages, engine_ps, in_ps, out_ps)
    assert closed == env.now if commands <= depth or depth == 1 else closed <= env.now
