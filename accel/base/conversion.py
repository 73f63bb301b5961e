"""What a unit leaves in another format than the op asks for, and the op that converts it."""

from __future__ import annotations

from workloads.formats import Format
from workloads.ops import Linear, Op, Pointwise


def converted(op: Linear, results: Format) -> list[Op]:
    """The op that turns ``results`` of ``op`` into its output format: none, a conversion, or for integers a dequantisation."""
    if op.output == results:
        return []
    function = "dequantize" if results.kind == "int" else "convert"
    return [
        Pointwise(
            role=f"{function}_{op.role}",
            function=function,
            rows=op.m,
            row=op.n,
            read_bytes=results.nbytes(op.m * op.n),
            write_bytes=op.output_bytes,
            activations=results,
            output=op.output,
        )
    ]
