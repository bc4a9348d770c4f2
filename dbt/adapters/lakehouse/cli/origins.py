"""How a commit came about, as it is shown: who ran what, from which code and inputs, on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Commit, Key, TableEntry, content_id, kind_of
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.output import DIM, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import duration, number
from dbt.adapters.lakehouse.errors import LakehouseError

NAMES = {"duckdb": "DuckDB", "python": "Python"}
_OF_DBT = "# This part is user provided model code"


def inputs(catalog: Catalog, commit: Commit) -> list[dict[str, Any]]:
    """What the commit's table was computed from: which snapshots, and the commits that made them."""
    said: Mapping[str, str] = commit.provenance.get("inputs") or {}
    entries = catalog.contents(said.values()) if said else {}
    found = []
    for name, content in said.items():
        relation, _, ref = name.partition("@")
        entry = entries.get(content)
        found.append(
            {
                "relation": relation,
                "ref": ref or None,
                "content": content,
                "kind": kind_of(entry) if entry is not None else None,
                "snapshot_id": entry.snapshot_id if isinstance(entry, TableEntry) else None,
                "metadata_location": entry.metadata_location if isinstance(entry, TableEntry) else None,
                "rows": entry.rows if isinstance(entry, TableEntry) else None,
                "commit": _made_by(catalog, commit, relation, ref, content),
            }
        )
    return found


def _made_by(catalog: Catalog, commit: Commit, relation: str, ref: str, content: str) -> str | None:
    """The commit that put an input where it was read; None if that cannot be told."""
    state = ref or (commit.parents[0] if commit.parents else None)
    if state is None or relation.count(".") != 1:
        return None
    key = Key(*relation.split("."))
    try:
        entry = catalog.lookup(state, [key]).get(key)
        if entry is None or content_id(entry) != content:
            return None
        made = catalog.last_change(state, key)
    except LakehouseError:
        return None
    return made.id if made is not None else None


def print_origin(cli: Cli, commit: Commit) -> None:
    """The lines of ``show`` about how a commit came about."""
    for label, *cells in _lines(commit.provenance):
        cli.out.line((f"{label:<6} ", DIM), *cells)


def _lines(said: Mapping[str, Any]) -> Iterator[tuple[str, *tuple[Cell, ...]]]:
    if said.get("command"):
        yield "command", str(said["command"])
    if said.get("node"):
        yield "node", (str(said["node"]), NAME), (f" ({said['mode']})" if said.get("mode") else "", DIM)
    if said.get("path"):
        yield "file", str(said["path"])
    if text := git_text(said):
        yield "code", text
    if text := versions_text(said):
        yield "engine", text
    counts = [
        f"{number(said[key])} {key.removeprefix('rows_')}" for key in ("rows_written", "rows_deleted") if key in said
    ]
    if counts:
        yield "rows", ", ".join(counts)
    if isinstance(said.get("seconds"), int | float):
        yield "took", duration(said["seconds"])
    yield from _around(said)


def _around(said: Mapping[str, Any]) -> Iterator[tuple[str, *tuple[Cell, ...]]]:
    """What a commit has to do with other runs."""
    if said.get("fingerprint"):
        yield "fingerprint", (str(said["fingerprint"]), DIM)
    reused = said.get("reused")
    if isinstance(reused, Mapping):
        yield "reused", f"from run {reused['run']} by {reused['author']}" if reused.get("run") else "as it was"
    for why in said.get("not_reusable") or ():
        yield "always", f"{why}, so that it runs each time"
    for run in said.get("accepted_tainted") or ():
        yield "taint", "accepted of run ", (str(run), ID)
    if said.get("rerun_of"):
        yield "again", "of run ", (str(said["rerun_of"]), ID)


def git_text(said: Mapping[str, Any]) -> str:
    """The project's commit in git; empty if that is not known."""
    git = said.get("git")
    if not isinstance(git, Mapping):
        return ""
    commit = short(git["commit"]) if git.get("commit") else "before the first commit"
    on = f" on {git['branch']}" if git.get("branch") else ""
    return f"git {commit}{on}{', with changes' if git.get('dirty') else ''}"


def versions_text(said: Mapping[str, Any]) -> str:
    """What it ran on; empty if that is not known."""
    versions: Mapping[str, Any] = said.get("versions") or {}
    return ", ".join(f"{NAMES.get(name, name)} {version}" for name, version in sorted(versions.items()))


def print_inputs(cli: Cli, found: list[dict[str, Any]]) -> None:
    """A table of inputs."""
    columns = [Column("input"), Column("kind", short=True), Column("rows", right=True), Column("snapshot", short=True)]
    columns += [Column("commit", short=True)]
    rows: list[list[Cell]] = []
    for one in found:
        at = f" @ {short(one['ref'])}" if one["ref"] else ""
        rows.append(
            [
                (one["relation"] + at, NAME),
                (one["kind"] or "gone", DIM),
                "" if one["rows"] is None else number(one["rows"]),
                "" if one["snapshot_id"] is None else str(one["snapshot_id"]),
                (short(one["commit"]), ID) if one["commit"] else "",
            ]
        )
    cli.out.table(columns, rows)


def print_code(cli: Cli, commit: Commit) -> None:
    """The code that the commit's table came from, as it was written and as it was compiled."""
    said = commit.provenance
    language = "python" if said.get("python") else "sql"
    compiled = said.get("python") or said.get("sql") or said.get("statement")
    if isinstance(compiled, str):
        compiled = compiled.partition(_OF_DBT)[0].strip()
    raw = said.get("raw_code")
    if isinstance(raw, str) and raw.strip():
        cli.out.line()
        cli.out.line(("code as it was written", DIM))
        cli.out.code(raw.strip(), "sql+jinja" if language == "sql" else language)
    if compiled and compiled != (raw or "").strip():
        cli.out.line()
        cli.out.line(("statement" if said.get("statement") else "code as it was compiled", DIM))
        cli.out.code(compiled, language)
