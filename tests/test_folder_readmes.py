"""Has every folder a README, and does the Python in it run?"""

import re

import pytest

FOLDERS = [
    "accel",
    "accel/tech",
    "kernels_ref",
    "memsys",
    "pim",
    "sim",
    "sim/commands",
    "sim/offloads",
    "sim/policies",
    "tests",
    "workloads",
]
RUN_HERE = ["pim", "sim", "sim/offloads"]  # the others' examples run beside what they describe


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_what_lives_in_it(root, folder):
    assert (root / folder / "README.md").read_text().startswith("# ")


@pytest.mark.parametrize("folder", RUN_HERE)
def test_its_examples_run(root, folder):
    blocks = re.findall(r"^```python\n(.*?)^```", (root / folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(block, f"{folder}/README.md", "exec"), {"__name__": "readme"})
