"""Does an installed rtloom work, away from the checkout, with all the files that it reads?"""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = ("accel", "kernels_ref", "memsys", "pim", "sim", "workloads")


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def files_in_packages(root) -> set[str]:
    """What a commit of everything would hold of the six folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PACKAGES],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name for name in listed.split("\0") if name and (root / name).is_file()}


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # The pinned build backend is installed beside the tests: no isolated folder, no network.
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(root)]
    result = subprocess.run(build, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder that holds the wheel's content and its script, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("an installation")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    result = subprocess.run(pip, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def run_elsewhere(installed: Path, folder: Path, *command: str) -> str:
    """What ``command`` prints in ``folder`` where `installed` comes before any other rtloom; its requirements are ours."""
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONWARNINGS": "error"}
    result = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_holds_every_file_of_the_six_folders_and_no_other(wheel, files_in_packages):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_in_packages


def test_the_wheel_states_licence_and_entry_point(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = wheel.name.rpartition("-py3")[0] + ".dist-info/"
        metadata = archive.read(info + "METADATA").decode()
        assert "License-Expression: Apache-2.0" in metadata
        assert "Apache License" in archive.read(info + "licenses/LICENSE").decode()
        assert "rtloom = sim.cli:main" in archive.read(info + "entry_points.txt").decode()


def test_the_installed_command_runs_elsewhere(installed, project, tmp_path):
    script = str(installed / "bin" / "rtloom")
    assert "compare" in run_elsewhere(installed, tmp_path, script, "--help")
    assert not list(tmp_path.iterdir())


DISCOVER = """
import sim
from accel.base.spec import discover
print(sim.__file__)
for package in ("accel", "pim", "memsys", "sim.policies"):
    print(package, *discover(package))
"""


def test_discovery_finds_the_same_kinds_when_installed(installed, root, tmp_path):
    place, *kinds = run_elsewhere(installed, tmp_path, "-c", DISCOVER).splitlines()
    assert Path(place).is_relative_to(installed), "the checkout was imported, not the installation"
    place, *expected = run_elsewhere(root, tmp_path, "-c", DISCOVER).splitlines()
    assert Path(place).is_relative_to(root)
    assert kinds == expected
    assert "table_precompute" in kinds[0]


READ = """
import sys
from importlib.resources import files
for name in sys.argv[1:]:
    package, *parts = name.split("/")
    assert files(package).joinpath(*parts).read_bytes() is not None
    print(name)
"""


def test_data_files_are_found_through_their_package(installed, files_in_packages, tmp_path):
    data = sorted(name for name in files_in_packages if name.endswith((".toml", ".json")))
    assert {Path(name).parts[0] for name in data} >= {"sim", "workloads"}
    assert run_elsewhere(installed, tmp_path, "-c", READ, *data).split() == data


def pins(root: Path) -> dict[str, Requirement]:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def version_pinned(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_declared_requirements_admit_their_pins(root, project):
    pinned = pins(root)
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in [Requirement(line) for group in groups for line in group]:
        assert requirement.specifier.contains(version_pinned(pinned[canonicalize_name(requirement.name)])), requirement


def test_all_that_the_tests_install_is_pinned(root, project):
    """Follows the requirements of what is installed here, from those that pyproject.toml declares."""
    pinned, seen = pins(root), set()
    extras = project["optional-dependencies"]
    waiting = [Requirement(line) for line in project["dependencies"] + extras["rtl"] + extras["calibrate"] + extras["dev"]]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in seen:
            seen.add(name)
            for line in importlib.metadata.requires(name) or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({**default_environment(), "extra": ""}):
                    waiting.append(needed)
    assert {"torch", "wasmtime", "pillow"} <= seen
    assert seen <= set(pinned), f"not pinned: {seen - set(pinned)}"
    # A pin without a local part ("+cpu") admits any.
    assert [name for name in seen if not pinned[name].specifier.contains(importlib.metadata.version(name))] == []
