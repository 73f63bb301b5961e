"""Does the front page do what it says: its commands, its Python, its messages, its links?"""

from __future__ import annotations

import re
import shlex

import pytest

from sim.errors import BadInput
from sim.files import override, parse_toml, validate
from sim.system import Device

EXAMPLES = re.compile(r"^\$ rtloom (.*)$", re.MULTILINE)


@pytest.fixture
def readme(root) -> str:
    return (root / "README.md").read_text()


def test_its_commands_run(rtloom, readme):
    found = EXAMPLES.findall(readme)
    assert len(found) == 4
    for words in found:
        assert rtloom(*shlex.split(words)).stdout


def test_its_python_runs(readme, capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    p99_ttft_ms, joules = map(float, capsys.readouterr().out.split())
    assert p99_ttft_ms > 0
    assert joules > 0


def test_its_messages_are_those_that_come(root, readme):
    text = (root / "sim" / "designs" / "a100_lut_4x.toml").read_text()
    for settings in (["units.lut.count=1700"], ["units.lut.clock=1.41"]):
        with pytest.raises(BadInput) as error:
            validate(Device, override(parse_toml(text, "my.toml"), settings), "my.toml")
        assert f"rtloom: {error.value}" in readme


def test_its_links_lead_somewhere(root, readme):
    local = [target for target in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in target]
    assert local
    assert [target for target in local if not (root / target).exists()] == []
