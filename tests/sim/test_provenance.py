"""Provenance: does the hash of a run follow everything that a result depends on, and nothing else?"""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from accel.base.spec import ENTRY_POINTS
from accel.base.unit import RtlUnit
from sim import provenance
from sim.files import parse_toml, shipped, validate
from sim.provenance import code_digest, digest, resolved, versions
from sim.system import Device, load_device
from sim.toml_text import to_toml
from workloads.formats import FORMATS


@pytest.mark.parametrize("name", shipped("designs"))
def test_a_resolved_design_is_that_design(name: str) -> None:
    device = load_device(name)
    again = validate(Device, parse_toml(to_toml(resolved(device)), name), name)
    assert again == device
    assert resolved(again) == resolved(device)


def test_resolved_names_kinds_and_formats() -> None:
    device = resolved(load_device("a100_80gb"))
    assert device["units"]["tensor"]["kind"] == "gpu_tensor_core"
    assert device["memories"]["hbm"]["kind"] == "dram"
    assert resolved({"format": FORMATS["uint2"].grouped(128), "none": None, "list": (1, 2.5)}) == {
        "format": "uint2:128",
        "list": [1, 2.5],
    }
    with pytest.raises(TypeError, match="no file can hold"):
        resolved(RtlUnit)


def test_the_digest_follows_values_not_their_order() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    different = [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"b": 1}, {}]
    assert len({digest(data) for data in different}) == len(different)


def test_the_run_follows_experiment_code_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    first = provenance.provenance({"a": 1}, seed=3)
    assert first == provenance.provenance({"a": 1}, seed=3)
    assert first["seed"] == 3
    assert first["versions"] == versions()
    assert first["code"] == code_digest()
    hashes = {first["hash"], provenance.provenance({"a": 2}, seed=3)["hash"]}
    monkeypatch.setattr(provenance, "code_digest", lambda: "other")
    hashes.add(provenance.provenance({"a": 1}, seed=3)["hash"])
    monkeypatch.undo()
    monkeypatch.setattr(provenance, "versions", lambda: {})
    hashes.add(provenance.provenance({"a": 1}, seed=3)["hash"])
    assert len(hashes) == 4


def test_the_code_digest_follows_every_source(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("one",))
    monkeypatch.setattr(provenance, "files", lambda package: tmp_path)
    seen = []
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "__pycache__").mkdir()
    for path, text in [
        ("a.py", "1"),
        ("a.py", "2"),
        ("b.toml", "2"),
        ("below/c.json", "{}"),
        ("below/d.py", ""),
    ]:
        (tmp_path / path).write_text(text)
        seen.append(code_digest.__wrapped__())
    assert len(set(seen)) == len(seen)
    (tmp_path / "__pycache__" / "a.py").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".checkpoints").mkdir()
    (tmp_path / ".checkpoints" / "a.py").write_text("x")
    (tmp_path / ".#a.py").symlink_to("nobody@nowhere:1")  # an editor's lock
    assert code_digest.__wrapped__() == seen[-1]


@pytest.mark.parametrize("where", ["their_unit.py", "their_units/unit.py"])
def test_the_code_digest_follows_the_packages_that_join(tmp_path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / where
    source.parent.mkdir(exist_ok=True)
    (source.parent / "__init__.py").touch()
    module = ".".join(source.relative_to(tmp_path).with_suffix("").parts)
    own = code_digest.__wrapped__()
    joined = EntryPoint(f"accel:{module}", module, ENTRY_POINTS)
    monkeypatch.setattr(provenance, "entry_points", lambda group: [joined] if group == ENTRY_POINTS else [])
    seen = {own}
    for text in ("a = 1", "a = 2"):
        source.write_text(text)
        seen.add(code_digest.__wrapped__())
    assert len(seen) == 3
