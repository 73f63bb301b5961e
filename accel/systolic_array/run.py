"""A run of an array of either dataflow: the config word opens it, and its last word of results closes it."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream

from accel.systolic_array.edges import OutputBuffer


def open_run(
    m: Module, config: stream.Interface, rows: int, columns: int, *, accumulates: bool = True, **signals: Signal
) -> SimpleNamespace:
    """What is in use in the run that is open, and the array's own ``signals`` beside it.

    ``idle``, ``opens`` (in this cycle), ``rows`` and ``columns`` (a bit for each), ``accumulate``.
    """
    new = config.payload
    run = SimpleNamespace(
        idle=Signal(init=1),
        rows=Signal(rows, name="rows_used"),
        columns=Signal(columns, name="columns_used"),
        accumulate=Signal(name="accumulate"),
        **signals,
    )
    run.opens = config.valid & run.idle
    m.d.comb += config.ready.eq(run.idle)
    with m.If(run.opens):
        m.d.sync += [
            run.rows.eq(Cat(r < new.rows for r in range(rows))),
            run.columns.eq(Cat(c < new.columns for c in range(columns))),
            run.accumulate.eq(new.accumulate if accumulates else 0),
        ]
    return run


def send_results(m: Module, run: SimpleNamespace, buffer: OutputBuffer, results: stream.Interface) -> None:
    """Send the ``sums`` of the words of ``buffer``; the word with ``ends`` closes the run."""
    m.d.comb += [
        results.valid.eq(buffer.words.valid),
        buffer.words.ready.eq(results.ready),
        results.payload.eq(buffer.words.payload.sums),
    ]
    with m.If(run.opens):
        m.d.sync += run.idle.eq(0)
    with m.If(results.valid & results.ready & buffer.words.payload.ends):
        m.d.sync += run.idle.eq(1)
