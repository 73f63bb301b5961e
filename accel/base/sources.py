"""Sources: the hash of everything that a piece of code rests on, name by name, without running it.

From a module or a name in it, the hash follows every name that is used to its definition, through all imports of our own
packages (a name takes its own definition only, not its whole module). Comments, docstrings and blank lines do not count. So a
hash changes when something changes that can change the result, and not when a neighbour does.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OURS = {"accel", "pim", "memsys", "kernels_ref", "workloads"}
Name = tuple[str, str | None]  # (module, top-level name in it, or None for the whole module)


def source_hash(roots: Iterable[Name], *, stop: Iterable[str] = (), extra: Iterable[str] = ()) -> str:
    """SHA-256 over ``roots`` and all that they use, in our packages and the roots' own, and over the texts ``extra``.

    Modules in ``stop`` are not entered.
    """
    waiting, texts = list(roots), {}
    packages = OURS | {module.partition(".")[0] for module, _ in waiting}
    while waiting:
        wanted = waiting.pop()
        module, _ = wanted
        if wanted in texts or module in stop or module.partition(".")[0] not in packages:
            continue
        text, uses = _look_up(*wanted)
        texts[wanted] = text
        waiting += uses
    parts = [f"{module} {name or ''}\n{text}" for (module, name), text in texts.items() if text]
    return hashlib.sha256("\0".join([*sorted(parts), *map(significant, extra)]).encode()).hexdigest()


def significant(source: str) -> str:
    """``source`` without comments, docstrings and blank lines: what can change behaviour."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            _blank(lines, node)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _blank(lines: list[str], node: ast.expr | ast.stmt) -> None:
    """Take ``node`` out of ``lines``, and nothing that stands beside it. (Columns of `ast` count bytes.)"""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    end = node.end_col_offset or 0
    after = lines[last].encode()[end:].decode()
    if first == last:
        lines[first] = lines[first].encode()[: node.col_offset].decode() + " " * (end - node.col_offset) + after
        return
    lines[first] = lines[first].encode()[: node.col_offset].decode()
    lines[first + 1 : last + 1] = [*[""] * (last - first - 1), " " * end + after]


@dataclass(frozen=True)
class _Module:
    """A parsed module: its text, what defines each top-level name, and what runs on import without defining a name."""

    text: str
    body: list[ast.stmt]
    package: str
    definitions: dict[str, list[ast.stmt]]
    effects: list[ast.stmt]


def _look_up(module: str, name: str | None) -> tuple[str, list[Name]]:
    """The text behind a name, and the names it uses; no text where there is no such module."""
    if (parsed := _parse(module)) is None:
        return "", []
    if name is None:
        inside = [f"{module}.{path.stem}" for path in _siblings(module)]
        return significant(parsed.text), [*_imports(parsed, parsed.body), *((sub, None) for sub in inside)]
    if name not in parsed.definitions:  # a submodule, or an attribute that the module makes in some other way
        return _look_up(f"{module}.{name}" if _file(f"{module}.{name}") else module, None)
    texts: list[str] = []
    uses: list[Name] = []
    for statement in parsed.definitions[name] + parsed.effects:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            uses += _imports(parsed, [statement], name)
        else:
            texts.append(significant(_segment(parsed.text, statement)))
            uses += _imports(parsed, [statement])
            uses += [(module, n.id) for n in ast.walk(statement) if isinstance(n, ast.Name) and n.id in parsed.definitions]
    return "\n".join(texts), uses


def _segment(text: str, statement: ast.stmt) -> str:
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(text.splitlines()[first - 1 : statement.end_lineno])


@cache
def _parse(module: str) -> _Module | None:
    path = _file(module)
    if path is None:
        return None
    text = path.read_text()
    body = [statement for statement in ast.parse(text).body if not _for_type_checkers(statement)]
    definitions: dict[str, list[ast.stmt]] = {}
    effects = []
    for statement in body:
        names = list(_defined(statement))
        if (names in ([], ["_"]) or _is_registered(statement)) and not _is_docstring(statement):
            effects.append(statement)
        for name in names:
            definitions.setdefault(name, []).append(statement)
    return _Module(text, body, module if path.name == "__init__.py" else module.rpartition(".")[0], definitions, effects)


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.If):
        for inner in statement.body + statement.orelse:
            yield from _defined(inner)
    else:
        stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        yield from (n.id for n in stored)


def _for_type_checkers(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING"


def _is_registered(statement: ast.stmt) -> bool:
    """True of a function that another calls without its name (`functools.singledispatch`)."""
    found = (node for decorator in getattr(statement, "decorator_list", []) for node in ast.walk(decorator))
    return any(isinstance(node, ast.Attribute) and node.attr == "register" for node in found)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _imports(parsed: _Module, nodes: Iterable[ast.stmt], bound: str | None = None) -> Iterator[Name]:
    """What is imported anywhere inside ``nodes``, or only what is bound to a name there; `import a.b` is the whole of a.b."""
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        base = ""
        if isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), parsed.package)
        for alias in node.names:
            if bound in (None, (alias.asname or alias.name).partition(".")[0]):
                yield (base, alias.name) if base else (alias.name, None)


@cache
def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):  # the parent is a module, not a package
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _siblings(module: str) -> list[Path]:
    """The other modules of a package that is taken whole (a unit that is a folder), but for programs, which use the unit and are
    not used by it; none of a plain module.
    """
    path = _file(module)
    if path is None or path.name != "__init__.py" or "." not in module or module.endswith(".base"):
        return []
    return [
        p for p in sorted(path.parent.glob("*.py")) if p.name != "__init__.py" and '__name__ == "__main__"' not in p.read_text()
    ]
