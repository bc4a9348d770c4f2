"""Where in the user's files DuckDB's errors are: its own line numbers are those of compiled code with a comment before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_LINE = re.compile(r"\n*^LINE (?P<number>\d+): (?P<text>.*)\n(?P<before> *)\^[^\n]*", re.MULTILINE)
_OURS = re.compile(r"^(DESCRIBE|COPY \(SELECT|CREATE OR REPLACE TEMP TABLE \"?__|SELECT \* FROM \() *")
_OWN_PACKAGES = ("dbt", "dbt_lakehouse", "dbt_duckdb")
_MACRO = re.compile(r"(\{%-?\s*(?:macro|test)\b.*?%\})(.*)\{%-?\s*end(?:macro|test)\s*-?%\}\s*", re.DOTALL)
_LONGEST = 5_000
"""Code of more lines is not compared: that takes their number squared."""


class Whereabouts:
    """Rewrites the place in DuckDB's messages. ``known`` gives dbt's manifest, ``root`` is the project's folder."""

    def __init__(self, known: Callable[[], Any], root: Path, project: str, packages: str) -> None:
        self._known = known
        self._root = root
        self._project = project
        self._packages = packages

    def placed(self, message: str, node_id: str | None) -> str:
        """The message with file and line of the user's code, as far as that can be told."""
        said = _LINE.search(message)
        nodes: Mapping[str, Any] = getattr(self._known(), "nodes", {})
        node = nodes.get(node_id or "")
        if said is None or node is None:
            return message
        prefix = len(f"LINE {said['number']}: ")
        ours = _OURS.match(said["text"])
        text = said["text"][ours.end() :] if ours else said["text"]
        column = len(said["before"]) - prefix - (ours.end() if ours else 0)
        shown = f"\n{text}\n{' ' * column}^" if column >= 0 else f"\n{text}"
        place = self._place(node, text, int(said["number"]), nodes)
        if place is None:
            return message[: said.start()] + message[said.end() :] if ours else message
        return f"{message[: said.start()]}\n\n{place}:{shown}{message[said.end() :]}"

    def _place(self, node: Any, text: str, number: int, nodes: Mapping[str, Any]) -> str | None:
        # Imported late: most nodes are right, and what looks ahead loads DuckDB.
        from dbt.adapters.lakehouse.preflight import lines

        compiled = getattr(node, "compiled_code", None) or getattr(node, "raw_code", None) or ""
        at = _nearest(compiled, text, number)
        if at is None:
            return self._hook(node, text)
        if compiled.count("\n") < _LONGEST:
            for one, raw, whole in self._sources(node, nodes):
                found = _within(compiled, raw, at) if whole else _equal(compiled, raw, at)
                path = self._file(one)
                line = lines.line_in_file(path, raw, found) if found is not None else None
                if line is not None:
                    macro = f" (macro {one.name})" if hasattr(one, "macro_sql") else ""
                    return f"{self._shown(one)}, line {line}{macro}"
        return f"{self._shown(node)}, line {at} of the compiled code of {node.name}"

    def _sources(self, node: Any, nodes: Mapping[str, Any]) -> Iterator[tuple[Any, str, bool]]:
        """What the compiled code of a node may be from, its text, and whether that is nearly all of the code."""
        macros = list(self._macros(node))
        if getattr(node, "test_metadata", None) is None:
            yield node, node.raw_code, True
        else:
            yield from ((macro, macro.macro_sql, True) for macro in macros[:1])
        parents = getattr(node.depends_on, "nodes", ()) if str(node.resource_type) == "unit_test" else ()
        for other in (*(cte.id for cte in getattr(node, "extra_ctes", None) or ()), *parents):
            if other in nodes:
                yield nodes[other], nodes[other].raw_code, False
        yield from ((macro, macro.macro_sql, False) for macro in macros)

    def _macros(self, node: Any) -> Iterator[Any]:
        """The macros of the project and its packages that a node calls, and those that they call."""
        macros = getattr(self._known(), "macros", {})
        waiting, seen = list(getattr(node.depends_on, "macros", ())), set()
        while waiting:
            name = waiting.pop(0)
            if name in seen or name not in macros:
                continue
            seen.add(name)
            macro = macros[name]
            if macro.package_name not in _OWN_PACKAGES:
                yield macro
            waiting.extend(macro.depends_on.macros)

    def _hook(self, node: Any, text: str) -> str | None:
        wanted = " ".join(text.strip(". ").split())
        for kind in ("pre_hook", "post_hook"):
            for hook in getattr(node.config, kind, None) or ():
                if wanted and wanted in " ".join(str(hook.sql).split()):
                    return f"{self._shown(node)}, in a {kind.replace('_', '-')}"
        return None

    def _shown(self, one: Any) -> str:
        if one.package_name in (self._project, *_OWN_PACKAGES):
            return str(one.original_file_path)
        return str(Path(self._packages, one.package_name, one.original_file_path))

    def _file(self, one: Any) -> Path:
        return self._root / self._shown(one)


def _nearest(compiled: str, text: str, number: int) -> int | None:
    """The line of the code that DuckDB shows, of those that hold what it shows the one nearest to its number."""
    wanted = text.strip().removeprefix("...").removesuffix("...").strip()
    holding = [at for at, line in enumerate(compiled.splitlines(), 1) if wanted in line] if wanted else []
    return min(holding, key=lambda at: abs(at - number), default=None)


def _within(compiled: str, raw: str, at: int) -> int | None:
    """The line of ``raw`` that a line of the code was made of; of a macro, what stands around its body is left out."""
    from dbt.adapters.lakehouse.preflight import lines

    macro = _MACRO.fullmatch(raw)
    if macro is None:
        return lines.raw_line(compiled, raw, at)
    found = lines.raw_line(compiled.strip(), macro[2].strip(), at - _lines_before(compiled))
    return None if found is None else found + macro[1].count("\n") + _lines_before(macro[2])


def _lines_before(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _equal(compiled: str, raw: str, at: int) -> int | None:
    """The only line of ``raw`` that is the same as a line of the code; None if none is, or several are."""
    wanted = compiled.splitlines()[at - 1].strip()
    return _single(number for number, line in enumerate(raw.splitlines(), 1) if line.strip() == wanted)


def _single(found: Iterable[int]) -> int | None:
    numbers = list(found)
    return numbers[0] if len(numbers) == 1 else None
