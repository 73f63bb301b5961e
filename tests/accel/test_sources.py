"""Does a source hash change with everything that a piece of code rests on, and with nothing else?"""

import importlib
import sys

import pytest

from accel.base import sources
from accel.base.sources import significant, source_hash

PLUGIN = {
    "__init__": "",
    "unit": """
        '''A unit.'''
        from __future__ import annotations
        import numpy as np
        from plugin_under_test.parts import width as bits, unused
        from . import table
        if TYPE_CHECKING:
            from plugin_under_test.hints import Hint
        LIMIT = 8
        OTHER = 9
        def cost(n):
            '''Doc.'''
            from plugin_under_test.late import late
            return LIMIT * bits(n) + late(n) + table.first
        def neighbour(n):
            return OTHER
        """,
    "parts": """
        SCALE = 2
        @decorated
        def width(n):
            return SCALE * n
        def unused(n):
            return 1
        @width.register
        def _(n):
            return 7
        @width.register(str)
        def width_of_text(n):
            return 30
        print("loaded")
        """,
    "late": "def late(n):\n    return n\n",
    "table": "first = 1\nsecond = 2\n",
    "hints": "Hint = int\n",
}


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function: the hash of plugin_under_test.unit.cost with ``old`` replaced by ``new`` in one file."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "plugin_under_test"
    folder.mkdir()

    def build(file=None, old="", new="", name="cost"):
        for stem, text in PLUGIN.items():
            lines = text.splitlines()
            indent = 8 if text.startswith("\n") else 0
            plain = "\n".join(line[indent:] for line in lines) + "\n"
            if stem == file:
                assert old in plain
                plain = plain.replace(old, new)
            (folder / f"{stem}.py").write_text(plain)
        importlib.invalidate_caches()
        sources._parse.cache_clear()
        sources._file.cache_clear()
        return source_hash([("plugin_under_test.unit", name)])

    yield build
    sources._parse.cache_clear()
    sources._file.cache_clear()
    sys.modules.pop("plugin_under_test", None)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("unit", "LIMIT * bits", "LIMIT + bits"),
        ("unit", "LIMIT = 8", "LIMIT = 7"),
        ("parts", "SCALE * n", "SCALE + n"),
        ("parts", "SCALE = 2", "SCALE = 3"),
        ("parts", "@decorated", "@renamed"),
        ("parts", "return 7", "return 8"),  # registered by a decorator
        ("parts", "return 30", "return 31"),  # the same under a name
        ("parts", '"loaded"', '"started"'),  # runs on import
        ("late", "return n", "return -n"),  # imported inside the function
        ("table", "first = 1", "first = 2"),  # a module imported whole
        ("table", "second = 2", "second = 3"),
    ],
)
def test_what_it_uses_changes_the_hash(plugin, file, old, new):
    assert plugin(file, old, new) != plugin()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("unit", "'''Doc.'''", "'''Other words.'''"),
        ("unit", "OTHER = 9", "OTHER = 10"),
        ("unit", "LIMIT = 8", "LIMIT = 8  # a comment"),
        ("unit", "return OTHER", "return 0"),
        ("parts", "return 1", "return 2"),
        ("hints", "int", "str"),
    ],
)
def test_what_it_does_not_use_does_not(plugin, file, old, new):
    assert plugin(file, old, new) == plugin()


def test_a_whole_module_takes_all_of_it(plugin):
    assert plugin("unit", "return OTHER", "return 0", name=None) != plugin(name=None)
    assert plugin("parts", "return 1", "return 2", name=None) != plugin(name=None)  # imported, if not used
    assert plugin("hints", "int", "str", name=None) == plugin(name=None)


def test_stopped_modules_and_extra_texts(plugin):
    root = [("plugin_under_test.unit", "cost")]
    plugin()
    before = source_hash(root, stop={"plugin_under_test.late"})
    plugin("late", "return n", "return -n")
    assert source_hash(root, stop={"plugin_under_test.late"}) == before
    assert source_hash(root, stop={"plugin_under_test.late"}, extra=["x = 1"]) != before


def test_comments_docstrings_and_blank_lines_do_not_count():
    code = 'def f(x):\n    """Doc."""\n    # why\n    y = "# not a comment"  # but this\n\n    return y\n'
    assert significant(code) == 'def f(x):\n    y = "# not a comment"\n    return y'


def test_code_beside_a_docstring_counts():
    assert significant('def f(x): "Doc."; return x\n') == "def f(x):       ; return x"
    assert significant('def f(x):\n    """Ein ü.\n    Two."""; return x\n') == "def f(x):\n           ; return x"


def test_code_before_a_comment_with_wide_characters_counts():
    assert significant('x = "ü"  # ü\n') == 'x = "ü"'


@pytest.mark.parametrize(("stem", "counts"), [("rtl", True), ("program", False)])
def test_a_folder_counts_whole_but_for_programs(tmp_path, monkeypatch, stem, counts):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / f"plugin_folder_{stem}" / "unit"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    texts = {"__init__": "WIDTH = 8\n", "rtl": "DEPTH = 1\n", "program": 'SIZE = 1\nif __name__ == "__main__":\n    SIZE\n'}

    def build(changed=None):
        for name, text in texts.items():
            (folder / f"{name}.py").write_text(text.replace("1", "2") if name == changed else text)
        importlib.invalidate_caches()
        sources._parse.cache_clear()
        sources._file.cache_clear()
        return source_hash([(f"plugin_folder_{stem}.unit", None)])

    assert (build() != build(stem)) == counts
