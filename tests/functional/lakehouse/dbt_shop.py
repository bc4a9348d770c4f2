"""A dbt project on a lake of its own, worked on by real dbt processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dbt_process import DbtProcess, Outcome, started

from dbt.adapters.lakehouse.catalog.model import Commit, RefKind, RunRecord
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.profile import lake_settings

PROJECT = """
name: shop
version: "1.0"
profile: shop
flags: {send_anonymous_usage_stats: false}
"""
PROFILE = """
shop:
  target: dev
  outputs:
    dev: {type: lakehouse, warehouse: ./lake, schema: shop, threads: 2}
"""


class Shop:
    """A project folder, and the lake that its profile names."""

    def __init__(self, root: Path, parsed: Path | None = None) -> None:
        self.root = root
        self.parsed = parsed
        self.environment: dict[str, str] = {"DBT_NO_VERSION_CHECK": "true", "DO_NOT_TRACK": "1", "NO_COLOR": "1"}
        self.write({"dbt_project.yml": PROJECT, "profiles.yml": PROFILE})

    # the project

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the project."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def read(self, name: str) -> str:
        """The text of a file of the project."""
        return (self.root / name).read_text()

    def models(self, **models: str) -> None:
        """Write SQL models by name, tables unless they say otherwise."""
        head = "{{ config(materialized='table') }}\n"
        self.write({f"models/{n}.sql": sql if "config(" in sql else head + sql for n, sql in models.items()})

    def outputs(self, **outputs: Mapping[str, Any]) -> None:
        """More targets, by the keys they have beyond (or other than) dev's."""
        lines = [PROFILE.rstrip()]
        for name, keys in outputs.items():
            values = {"type": "lakehouse", "warehouse": "./lake", "schema": "shop", "threads": 2, **keys}
            lines.append(f"    {name}: {{{', '.join(f'{k}: {v}' for k, v in values.items())}}}")
        self.write({"profiles.yml": "\n".join(lines) + "\n"})

    # dbt

    def start(self, *arguments: str, **environment: str) -> AbstractContextManager[DbtProcess]:
        """A dbt command under way."""
        target = self.root / "target" / "partial_parse.msgpack"
        if self.parsed is not None and not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copy(self.parsed, target)
        return started(arguments, self.root, {**self.environment, **environment})

    def dbt(self, *arguments: str, code: int | None = 0, **environment: str) -> Outcome:
        """Run a dbt command to its end, which must have the exit code (None: any)."""
        with self.start(*arguments, **environment) as process:
            outcome = process.wait()
        assert code is None or outcome.code == code, f"dbt {arguments} ended with {outcome.code}:\n{outcome.output}"
        return outcome

    def python(self, code: str) -> None:
        """Run Python code in the project's folder, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.root,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    # the lake

    @contextlib.contextmanager
    def lake(self, **keys: Any) -> Iterator[EmbeddedLake]:
        """The lake, for looking into it."""
        settings = lake_settings({"type": "lakehouse", "warehouse": "./lake", **keys}, self.root)
        lake = EmbeddedLake.open(settings)
        try:
            yield lake
        finally:
            lake.close()

    def rows(self, sql: str, ref: str = "main") -> list[tuple[Any, ...]]:
        """Rows of a query at a ref, sorted."""
        with self.lake() as lake:
            session = lake.read(ref, "shop")
            try:
                return sorted(session.execute(sql).rows, key=repr)
            finally:
                session.close()

    def tables(self, ref: str = "main") -> dict[str, list[tuple[Any, ...]]]:
        """Every relation at a ref with its rows, sorted."""
        with self.lake() as lake:
            session = lake.read(ref, "shop")
            try:
                return {
                    f"{entry.schema}.{entry.name}": sorted(
                        session.execute(f'SELECT * FROM lake."{entry.schema}"."{entry.name}"').rows, key=repr
                    )
                    for entry in session.relations("lake")
                    if entry.kind != "function"
                }
            finally:
                session.close()

    def head(self, branch: str = "main") -> str:
        """The id of a branch's head."""
        with self.lake() as lake:
            return lake.catalog.resolve(branch).id

    def log(self, branch: str = "main") -> list[Commit]:
        """A branch's own history, newest first."""
        with self.lake() as lake:
            return lake.catalog.log(lake.catalog.resolve(branch).id)

    def branches(self) -> list[str]:
        """Names of all branches."""
        with self.lake() as lake:
            return [ref.name for ref in lake.catalog.refs(RefKind.BRANCH)]

    def runs(self) -> list[RunRecord]:
        """All runs, newest first."""
        with self.lake() as lake:
            return lake.runs()

    def on_main(self, *statements: str) -> None:
        """Change the branch main from outside of dbt, each statement at once."""
        from dbt.adapters.lakehouse.lake.base import RunRequest
        from dbt.adapters.lakehouse.settings import PublishMode

        request = RunRequest(
            id=os.urandom(8).hex(), command="test", branch="main", publish=PublishMode.EACH_NODE, default_schema="shop"
        )
        with self.lake() as lake:
            session = lake.open_run(request).session()
            for statement in statements:
                session.execute(statement)
            session.close()
