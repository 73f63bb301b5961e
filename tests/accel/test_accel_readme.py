"""Is the README's unit a whole unit, and do its examples run, in order?"""

import importlib
import re
import sys
from pathlib import Path

import pytest

import accel
import kernels_ref
from accel.base import conformance, proofs
from accel.base.spec import discover

TEXT = (Path(accel.__file__).parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The README's files, as if they lay in their folders, and a folder of proofs of their own."""
    for package in (accel, kernels_ref):
        folder = tmp_path / package.__name__
        folder.mkdir()
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    files = [(match[1], block) for block in BLOCKS if (match := re.match(r"# (\S+\.py)\n", block))]
    for name, block in files:
        (tmp_path / name).write_text(block)
    verify = conformance.verify
    monkeypatch.setattr(conformance, "verify", lambda *args, **kwargs: verify(*args, folder=tmp_path, **kwargs))
    status = proofs.proof_status
    monkeypatch.setattr(proofs, "proof_status", lambda unit: status(unit, tmp_path))
    discover.cache_clear()
    importlib.invalidate_caches()
    yield [name for name, _ in files]
    discover.cache_clear()
    for name, _ in files:
        sys.modules.pop(name.removesuffix(".py").replace("/", "."), None)


def test_examples_run_in_order(house):
    assert house == ["accel/scalar_mac.py", "kernels_ref/dot_products.py"]
    examples = [block for block in BLOCKS if not block.startswith("# ")]
    assert len(examples) == 2
    exec(compile("\n".join(examples), "README.md", "exec"), {"__name__": "readme"})
