"""Do proof records hold exactly as long as what they prove is unchanged, and are they read without torch or a simulator?"""

import json
import subprocess
import sys

import pytest

from accel.base import proofs, sources
from accel.base.proofs import golden_sources, proof_status, record, unit_sources
from accel.gpu_vector_unit import GpuVectorUnit
from accel.table_precompute import TablePrecomputeUnit

UNIT = TablePrecomputeUnit(rows=2, group=3)
FACTS = {"cases": 1, "seed": 0, "simulator": "icarus", "date": "2026-01-01"}


@pytest.fixture
def folder(tmp_path):
    """A folder with one record of UNIT that holds."""
    record(UNIT, FACTS | {"tools": {"amaranth": proofs.version("amaranth")}}, tmp_path)
    return tmp_path


def change(folder, **entries):
    path = folder / "table_precompute.json"
    saved = json.loads(path.read_text())
    saved["proofs"][0] |= entries
    path.write_text(json.dumps(saved))


def test_proved_at_these_parameters_at_others_or_not(folder, tmp_path_factory):
    assert proof_status(UNIT, folder).status == "proved"
    other = proof_status(TablePrecomputeUnit(rows=5, group=3), folder)
    assert other.status == "other"
    assert "not at {'rows': 5, 'group': 3, 'table_bits': None, " in other.detail
    never = proof_status(UNIT, tmp_path_factory.mktemp("empty"))
    assert never.status == "none"
    assert "never proved" in never.detail


@pytest.mark.parametrize("what", ["unit_sources", "golden_sources"])
def test_a_stale_source_hash_reads_none(folder, what):
    change(folder, **{what: "0" * 64})
    found = proof_status(UNIT, folder)
    assert found.status == "none"
    assert "stale" in found.detail
    assert proof_status(TablePrecomputeUnit(rows=5, group=3), folder).status == "none"


def test_under_another_amaranth_the_rtlil_decides(folder):
    change(folder, tools={"amaranth": "0.0.1"})
    assert proof_status(UNIT, folder).status == "proved"
    change(folder, tools={"amaranth": "0.0.1"}, rtlil="0" * 64)
    assert proof_status(UNIT, folder).status == "none"


def test_a_changed_cost_golden_kernel_or_framework_is_noticed_and_a_neighbour_is_not(monkeypatch):
    significant = sources.significant

    def hashes(edited="nothing has this text", old="", new=""):
        """Hashes of the unit's and the golden kernel's sources, as if ``old`` were ``new`` in the piece that has ``edited``."""

        def edit(source):
            return significant(source).replace(old, new) if edited in source else significant(source)

        with monkeypatch.context() as patch:
            patch.setattr(sources, "significant", edit)
            return unit_sources.__wrapped__(TablePrecomputeUnit), golden_sources.__wrapped__(TablePrecomputeUnit)

    unit, golden = hashes()
    assert (unit, golden) == (unit_sources(TablePrecomputeUnit), golden_sources(TablePrecomputeUnit))
    changed = hashes("latency=CONFIG_CYCLES + words", "interval=words", "interval=words + 1")  # cost
    assert changed[0] != unit
    assert changed[1] == golden
    assert hashes("def entry_bits(group", "ACTIVATION_BITS", "ACTIVATION_BITS + 1")[0] != unit  # what the RTL imports
    assert hashes("def runs(self, op", "op.dimensions", "reversed(op.dimensions)")[0] != unit  # how an op is cut
    changed = hashes("def integer_half_table(op", "padded", "unpadded")  # golden kernel
    assert changed[0] == unit
    assert changed[1] != golden
    assert hashes("def signs(group", "-1", "1")[1] != golden  # what the golden kernel calls
    assert hashes("def gemm_traffic(", "written", "wrote") == (unit, golden)  # a neighbour of what the cost imports


def test_a_new_record_replaces_the_old_and_drops_what_is_stale(folder):
    tools = {"tools": {"amaranth": proofs.version("amaranth")}}
    record(TablePrecomputeUnit(rows=1, group=2), FACTS | tools, folder)
    record(UNIT, FACTS | tools | {"seed": 5}, folder)
    assert [(r["parameters"]["rows"], r["seed"]) for r in proofs.load("table_precompute", folder)] == [(1, 0), (2, 5)]
    change(folder, golden_sources="0" * 64)
    record(UNIT, FACTS | tools, folder)
    assert [r["parameters"]["rows"] for r in proofs.load("table_precompute", folder)] == [2]


def test_an_analytical_unit_has_no_proof():
    found = proof_status(GpuVectorUnit.model_construct())
    assert found.status == "none"
    assert "calibrated figures" in found.detail


def test_status_needs_neither_torch_nor_cocotb_nor_elaboration():
    script = (
        "import sys\n"
        "from accel.base.proofs import proof_status\n"
        "from accel.table_precompute import TablePrecomputeUnit\n"
        "print(proof_status(TablePrecomputeUnit()).status)\n"
        "sys.exit(bool({'torch', 'cocotb', 'amaranth'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "proved"
