"""What dbt and DuckDB say is wrong, made short, with the file and the line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.dev.values import Problem
from dbt.adapters.lakehouse.preflight.lines import line_in_file, raw_line

_IN_NODE = re.compile(r"^(?:[A-Z]\w+ )+(?:Error|Exception) in (?P<what>.+?) \((?P<path>[^()]+\.\w+)\)\s*$")
_PLACE = re.compile(r"\((?P<path>[^():]+\.\w+):(?P<line>\d+)\)\s*$", re.MULTILINE)
_FILE = re.compile(r"(?P<path>[\w./ -]*[\w-]+\.(?:sql|py|ya?ml|csv|md))\b")
_LINE = re.compile(r"\bline (?P<line>\d+)\b", re.IGNORECASE)
_SQL_LINE = re.compile(r"^\s*LINE (?P<line>\d+): (?P<text>.*)$", re.MULTILINE)
_PYTHON_LINE = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+)')
_HEAD = re.compile(r"^(?:[A-Z]\w+ )+Error$")
_NOISE = re.compile(r"^\s*(?:> (?:in macro|called by)|[Cc]ompiled code at|`preflight: warn`)")


def problem_of(said: object, root: Path, node: Any = None) -> Problem:
    """A problem, from an exception or a message of dbt's; ``node`` is the one that it is about, if there is one."""
    text = str(said if said is not None else "dbt ended without a word").strip()
    path = getattr(node, "original_file_path", None)
    first, _, rest = text.partition("\n")
    match = _IN_NODE.match(first)
    if match:
        path, text = match["path"], rest
    elif rest and _HEAD.match(first):
        text = rest
    # What follows says the same of a YAML file once more, in the parser's words.
    text = text.partition("Raw Error:")[0]
    lines = [line for line in text.splitlines() if not _NOISE.match(line)]
    message = _without_indent(lines)
    place = _PLACE.search(message) if node is None else None
    if place is not None:
        return Problem(message=message, path=place["path"], line=int(place["line"]))
    if path is None and (found := _existing(message, root)):
        path = found
    return Problem(message=message, path=path, line=_line(message, root, path, node))


def _without_indent(lines: list[str]) -> str:
    """The lines flush left, as far as they all can be, without empty ones at either end."""
    text = "\n".join(lines).strip("\n")
    indents = [len(line) - len(line.lstrip()) for line in text.splitlines() if line.strip()]
    cut = min(indents, default=0)
    return "\n".join(line[cut:].rstrip() for line in text.splitlines()).strip()


def _existing(message: str, root: Path) -> str | None:
    """The first file of the project that a message names; of YAML files dbt leaves out the folder of the resources."""
    for match in _FILE.finditer(message):
        path = match["path"].strip()
        for name in dict.fromkeys((path, path.rpartition(" ")[2])):
            if not name or name.startswith((".", "/")):
                continue
            found = [root / name] if (root / name).is_file() else list(root.glob(f"*/{name}"))
            if len(found) == 1:
                return str(found[0].relative_to(root))
    return None


def _line(message: str, root: Path, path: str | None, node: Any) -> int | None:
    """The line of the file. DuckDB counts those of the compiled SQL, whose texts are looked up in the file."""
    if path is not None:
        for match in reversed(list(_PYTHON_LINE.finditer(message))):
            if match["path"].endswith(path):
                return int(match["line"])
    sql = _SQL_LINE.search(message)
    if sql is not None:
        return _line_of_text(sql["text"], int(sql["line"]), root, path, node)
    said = _LINE.search(message)
    return int(said["line"]) if said else None


def _line_of_text(text: str, number: int, root: Path, path: str | None, node: Any) -> int | None:
    """The line of a model's file that has become a line of its SQL, if there is no doubt."""
    raw, compiled = getattr(node, "raw_code", None), getattr(node, "compiled_code", None)
    if not raw or not compiled or path is None:
        return None
    # DuckDB cuts long lines; and the statement that it saw may begin with lines that dbt or the adapter added.
    part = text.strip().removeprefix("...").removesuffix("...").strip()
    there = [at for at, line in enumerate(compiled.splitlines(), start=1) if part and part in line]
    if number in there:
        there = [number]
    line = raw_line(compiled, raw, there[0]) if len(there) == 1 else None
    return line_in_file(root / path, raw, line) if line is not None else None
