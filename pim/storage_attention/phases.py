"""The sequence of phases: which follows which, and when."""

from __future__ import annotations

from amaranth.hdl import Mux

from pim.storage_attention.shared import ONE
from pim.storage_attention.timing import GAIN_STEPS, KERNEL, SHARE_STEPS, TEMPERATURE_STEPS, key_drain


def sequence(m, s):
    """What comes after what. ``n``, ``count`` and the counters of pages are zero where a phase begins."""
    layout, phase = s.layout, s.phase
    new = s.ports.config.payload
    sent_out = s.ports.out.valid & s.ports.out.ready
    directive = s.ports.directives.valid & s.ports.directives.ready
    m.d.sync += s.sent.eq(0)

    def follow(state, *changes):
        m.d.sync += [s.n.eq(0), s.count.eq(0), s.step.eq(0), *changes]
        m.next = state

    def count_pages(last, after, *, by_channel=False, before=None):
        """To the next page, or where that was the last one to the phase ``after``."""
        with m.If(last):
            m.d.sync += [s.group.eq(0), s.range.eq(0), s.page.eq(0), s.turn.eq(0)]
            m.next = after
        with m.Else():
            m.d.sync += s.turn.eq(Mux(s.turn == s.flash_channels - 1, 0, s.turn + 1))
            if by_channel:
                m.d.sync += s.group.eq(s.group + 1)
                with m.If(s.group == layout.groups - 1):
                    m.d.sync += [s.group.eq(0), s.range.eq(s.range + 1)]
            else:
                m.d.sync += s.page.eq(s.page + 1)
            if before is not None:
                m.next = before

    def page_phases(kind, mask, last, after):
        """Directives, unless that were those of another phase; and pages, each looked at and then streamed."""
        by_channel = kind == "channels"
        with m.State(f"look_{kind}"):
            m.d.comb += phase[f"look_{kind}"].eq(1)
            with m.If(~s.soon):
                with m.If(mask.any()):
                    m.d.comb += s.load.eq(1)
                    m.next = f"stream_{kind}"
                with m.Else():
                    count_pages(last, f"drain_{kind}", by_channel=by_channel)
        with m.State(f"stream_{kind}"):
            m.d.comb += phase[f"stream_{kind}"].eq(1)
            with m.If(s.page_take & s.page_ends):
                count_pages(last, f"drain_{kind}", by_channel=by_channel, before=f"look_{kind}")
        with m.State(f"drain_{kind}"):
            m.d.comb += phase[f"drain_{kind}"].eq(1)
            with m.If(~s.soon):
                m.d.sync += s.n.eq(s.n + 1)
                with m.If(s.n == (key_drain(s.lanes) if kind == "keys" else KERNEL) - 1):
                    follow(after)

    def step_phase(name, steps, register, after):
        with m.State(name):
            m.d.comb += phase[name].eq(1)
            with m.If(s.stepped & (s.step == steps - 1)):
                m.d.sync += register
                follow(after)

    def softmax_phase(name, after):
        with m.State(name):
            m.d.comb += phase[name].eq(1)
            with m.If(s.n <= s.last_element):
                m.d.sync += [s.n.eq(s.n + 1), s.sent.eq(1)]
            with m.If(s.pipe.done):
                m.d.sync += s.count.eq(s.count + 1)
            with m.If(s.weighed):
                follow(after)

    with m.FSM(name="phase"):
        with m.State("idle"):
            m.d.comb += s.ports.config.ready.eq(1)
            with m.If(s.ports.config.valid):
                m.d.sync += [s.left.eq(new.invocations), s.last_token.eq(new.last_token), s.recent.eq(new.recent)]
                m.d.sync += [s.channels.eq(new.channels), s.selected.eq(new.selected), s.dense.eq(new.dense)]
                follow("query", s.alpha.eq(ONE), s.rest.eq(0))
        with m.State("query"):
            m.d.comb += s.ports.query.ready.eq(1)
            with m.If(s.ports.query.valid):
                m.d.sync += s.n.eq(s.n + 1)
                with m.If(s.n == s.vector_words - 1):
                    with m.If(s.dense):
                        follow("direct_tokens")
                    with m.Else():
                        follow("rank_channels")
        for name, after in (("rank_channels", "norm"), ("rank_tokens", "alpha")):
            with m.State(name):
                m.d.comb += phase[name].eq(1)
                with m.If(s.rank.done):
                    follow(after, s.norm_part.eq(0))
        with m.State("norm"):
            m.d.comb += phase["norm"].eq(1)
            with m.If(s.norm_word):
                m.d.sync += s.n.eq(s.n + 1)
            with m.If(s.norm_word & (s.n == s.vector_words - 1) & ~s.norm_part):
                m.d.sync += [s.n.eq(0), s.norm_part.eq(1)]
            with m.If(s.dot.ends):
                m.d.sync += [s.q1.eq(s.qi1), s.qi1.eq(s.dot.result), s.count.eq(1)]
                with m.If(s.count == 1):
                    follow("temperature")
        factor = Mux(s.q1[23:31] == 0, 0, s.pipe.y)  # a query of zeros weighs all alike
        step_phase("temperature", TEMPERATURE_STEPS, [s.factor.eq(factor)], "direct_channels")
        for kind, mask, last in (
            ("channels", s.group_mask, s.last_channel_page),
            ("tokens", s.token_mask, s.last_page),
        ):
            with m.State(f"direct_{kind}"):
                m.d.comb += [phase[f"direct_{kind}"].eq(1), s.ports.directives.valid.eq(1)]
                m.d.comb += s.ports.directives.payload.eq(mask.any())
                after = "look_channels" if kind == "channels" else "look_keys"
                with m.If(directive):
                    count_pages(last, after, by_channel=kind == "channels")
        page_phases("channels", s.group_mask, s.last_channel_page, "rank_tokens")
        softmax_phase("alpha", "share")
        step_phase("share", SHARE_STEPS, [s.rest.eq(s.pipe.y)], "direct_tokens")
        page_phases("keys", s.token_mask, s.last_page, "softmax")
        softmax_phase("softmax", "gain")
        step_phase("gain", GAIN_STEPS, [s.gain.eq(s.pipe.y)], "look_values")
        page_phases("values", s.token_mask, s.last_page, "output")
        with m.State("output"):
            m.d.comb += phase["output"].eq(1)
            with m.If(s.issue_output):
                m.d.sync += s.n.eq(s.n + 1)
            with m.If(s.go):
                m.d.sync += s.sent.eq(s.issue_output)
            with m.Else():
                m.d.sync += s.sent.eq(s.sent)
            with m.If(sent_out):
                m.d.sync += s.count.eq(s.count + 1)
                with m.If(s.count == layout.head_dim - 1):
                    m.d.sync += s.left.eq(s.left - 1)
                    with m.If(s.left == 0):
                        follow("idle")
                    with m.Else():
                        follow("query")
    with m.If(phase["share"] & s.stepped & (s.step == 1)):
        m.d.sync += s.alpha.eq(s.pipe.y)
    # Scores of keys are counted as they come, in whatever phase of the keys, and weights of values as they are used.
    with m.If(s.dot.ends & (phase["look_keys"] | phase["stream_keys"] | phase["drain_keys"])):
        m.d.sync += s.count.eq(s.count + 1)
    with m.If(phase["stream_values"] & s.kept & s.page_row_ends):
        m.d.sync += s.count.eq(s.count + 1)
