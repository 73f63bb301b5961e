"""Do the README's examples run, in order, as printed?"""

import re
from pathlib import Path

import workloads


def test_the_readme_runs():
    text = (Path(workloads.__file__).parent / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    exec(compile("\n".join(blocks), "README.md", "exec"), {"__name__": "readme"})
