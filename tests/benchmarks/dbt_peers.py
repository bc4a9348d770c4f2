"""The same models as a project of each tool, and how each builds them. For ``bench_dbt.py``."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

WIDTH = 20
"""Models side by side, so that several threads have work. Each of the first ones begins a chain."""

ROWS = 100
THREADS = 4
SQLMESH = "0.236"

PROFILE = """\
bench:
  target: {name}
  outputs:
    {name}: {output}
"""
OUTPUTS = {
    "lakehouse": f"{{type: lakehouse, warehouse: ./lake, schema: bench, threads: {THREADS}}}",
    "duckdb": f"{{type: duckdb, path: ./tables.duckdb, schema: bench, threads: {THREADS}}}",
}
SQLMESH_CONFIG = f"""\
gateways:
  local:
    connection: {{type: duckdb, database: tables.duckdb, concurrent_tasks: {THREADS}}}
default_gateway: local
model_defaults: {{dialect: duckdb}}
"""


@dataclass(frozen=True, kw_only=True)
class Models:
    """Small tables in chains, and what was edited in them since: a comment, a column of the last one, rows of the first one."""

    count: int
    comment: str = ""
    leaf: str = ""
    root: str = "name"

    @property
    def chain(self) -> int:
        """How many models the first one and all that depend on it are."""
        return (self.count + WIDTH - 1) // WIDTH

    def sql(self, index: int, parent: str) -> str:
        """A model's query; ``parent`` is how it names the table that it reads."""
        begins = f"'{self.root if index == 0 else 'name'} ' || range as name"
        also = f", '{self.leaf}' as edited" if self.leaf and index == self.count - 1 else ""
        query = (
            f"select range as id, {begins}, {index} as step{also} from range({ROWS})"
            if index < WIDTH
            else f"select id, name, {index} as step{also} from {parent}"
        )
        return f"-- {self.comment}\n{query}\n" if self.comment and index == 0 else f"{query}\n"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process and its children took, in seconds."""

    wall: float
    cpu: float


def cost(command: list[str], folder: Path | None = None, **more: str) -> tuple[Cost, str]:
    """The cost of a process that must end well, and its output. Byte code is kept, as for any installed package."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"DO_NOT_TRACK": "1", "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true", **more}
    before, started = _children(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    found = Cost(wall=time.perf_counter() - started, cpu=_children() - before)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return found, done.stdout


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Peer(ABC):
    """A tool with a project of its own. ``ran`` is how many models its last build computed."""

    label: str
    ran: int = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "models").mkdir(parents=True)
        self.configure()

    @abstractmethod
    def configure(self) -> None:
        """Write what the project needs besides its models."""

    @abstractmethod
    def text(self, models: Models, index: int) -> str:
        """A model's file."""

    def write(self, models: Models) -> None:
        """Let the project have these models; files that stay the same are not touched."""
        for index in range(models.count):
            file = self.folder / "models" / f"m{index}.sql"
            text = self.text(models, index)
            if not file.exists() or file.read_text() != text:
                file.write_text(text)

    @abstractmethod
    def warm(self) -> None:
        """Let the tool read the project, which its users do not do for the first time either."""

    @abstractmethod
    def forget(self) -> None:
        """Take away everything that was built."""

    @abstractmethod
    def build(self) -> Cost:
        """What a user types after an edit."""

    @abstractmethod
    def expected(self, step: str, models: Models) -> int:
        """How many models a step has to compute."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer of a query on what was built."""
        with duckdb.connect(str(self.folder / "tables.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()


class DbtDuckdb(Peer):
    """dbt-duckdb: every build runs everything."""

    label = "dbt-duckdb"
    target = "duckdb"

    def configure(self) -> None:
        """See Peer."""
        (self.folder / "dbt_project.yml").write_text(
            "name: bench\nversion: '1.0'\nprofile: bench\nmodels:\n  bench:\n    +materialized: table\n"
        )
        (self.folder / "profiles.yml").write_text(PROFILE.format(name=self.target, output=OUTPUTS[self.target]))

    def text(self, models: Models, index: int) -> str:
        """See Peer."""
        return models.sql(index, f"{{{{ ref('m{index - WIDTH}') }}}}")

    def dbt(self, *arguments: str) -> Cost:
        """Run dbt."""
        return cost([sys.executable, "-m", "dbt.cli.main", "-q", *arguments], self.folder)[0]

    def warm(self) -> None:
        """See Peer."""
        self.dbt("parse")

    def forget(self) -> None:
        """See Peer."""
        (self.folder / "tables.duckdb").unlink(missing_ok=True)

    def build(self) -> Cost:
        """See Peer."""
        (self.folder / "target" / "run_results.json").unlink(missing_ok=True)
        found = self.dbt("build", *self.selection())
        self.ran = self._computed()
        return found

    def selection(self) -> list[str]:
        """What to build."""
        return []

    def _computed(self) -> int:
        file = self.folder / "target" / "run_results.json"
        results = json.loads(file.read_text())["results"] if file.exists() else []
        return sum(
            result["status"] == "success" and result["adapter_response"].get("code") != "REUSED" for result in results
        )

    def expected(self, step: str, models: Models) -> int:
        """See Peer."""
        return models.count


class DbtDuckdbState(DbtDuckdb):
    """dbt-duckdb, told by hand what to run: the manifest of the build before is kept, and ``state:modified+`` compares."""

    label = "dbt-duckdb, state:modified+"

    def forget(self) -> None:
        """See Peer."""
        super().forget()
        shutil.rmtree(self.folder / "state", ignore_errors=True)

    def build(self) -> Cost:
        """See Peer."""
        found = super().build()
        (self.folder / "state").mkdir(exist_ok=True)
        shutil.copy(self.folder / "target" / "manifest.json", self.folder / "state")
        return found

    def selection(self) -> list[str]:
        """See DbtDuckdb."""
        known = (self.folder / "state").exists()
        return ["--select", "state:modified+", "--defer", "--state", "state"] if known else []

    def expected(self, step: str, models: Models) -> int:
        """See Peer. A comment is an edit like any other."""
        chain = models.chain
        return {"first": models.count, "unchanged": 0, "comment": chain, "leaf": 1, "root": chain}[step]


class Lakehouse(DbtDuckdb):
    """This adapter: plain ``dbt build``."""

    label = "lakehouse"
    target = "lakehouse"

    def forget(self) -> None:
        """See Peer."""
        shutil.rmtree(self.folder / "lake", ignore_errors=True)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """See Peer."""
        program = str(Path(sys.executable).with_name("lakehouse"))
        _, answer = cost([program, "query", sql, "--json", "--profiles-dir", "."], self.folder)
        return [tuple(row.values()) for row in json.loads(answer)]

    def expected(self, step: str, models: Models) -> int:
        """See Peer."""
        return {"first": models.count, "unchanged": 0, "comment": 0, "leaf": 1, "root": models.chain}[step]


class Sqlmesh(Peer):
    """SQLMesh, with a project of its own kind and every model FULL."""

    label = f"SQLMesh {SQLMESH}"

    def __init__(self, folder: Path) -> None:
        self._program = sqlmesh_program()
        super().__init__(folder)

    def configure(self) -> None:
        """See Peer."""
        (self.folder / "config.yaml").write_text(SQLMESH_CONFIG)

    def text(self, models: Models, index: int) -> str:
        """See Peer."""
        return f"MODEL (name bench.m{index}, kind FULL);\n\n{models.sql(index, f'bench.m{index - WIDTH}')}"

    def warm(self) -> None:
        """See Peer. It keeps what it parsed and optimized, which a first plan does."""
        if not (self.folder / ".cache").exists():
            self.build()

    def forget(self) -> None:
        """See Peer."""
        for name in ("tables.duckdb", "tables.duckdb.wal"):
            (self.folder / name).unlink(missing_ok=True)

    def build(self) -> Cost:
        """See Peer."""
        found, output = cost([self._program, "plan", "--auto-apply", "--no-prompts"], self.folder)
        self.ran = len(re.findall(r"^\[\d+/\d+\] +bench\.m\d+ ", output, re.MULTILINE))
        return found

    def expected(self, step: str, models: Models) -> int:
        """See Peer."""
        return {"first": models.count, "unchanged": 0, "comment": 0, "leaf": 1, "root": models.chain}[step]


class NotInstalledError(Exception):
    """A peer cannot be had on this machine."""


def sqlmesh_program() -> str:
    """SQLMesh in a virtual environment of its own, which is made once and kept. Raises NotInstalledError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dbt-lakehouse-benchmarks"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / f"sqlmesh-{SQLMESH}-python-{version}"
    program = folder / "bin" / "sqlmesh"
    if not program.exists():
        python = str(folder / "bin" / "python")
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.exists() else shutil.which("uv")
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        install = (
            [uv, "pip", "install", "--quiet", "--python", python] if uv else [python, "-m", "pip", "install", "-q"]
        )
        for command in ([*make, str(folder)], [*install, f"sqlmesh=={SQLMESH}.*"]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                said = " ".join((done.stderr or done.stdout).split())
                raise NotInstalledError(f"{' '.join(command)} failed: {said[:300] or 'it said nothing'}")
    return str(program)


PEERS: dict[str, type[Peer]] = {
    "lakehouse": Lakehouse,
    "duckdb": DbtDuckdb,
    "state": DbtDuckdbState,
    "sqlmesh": Sqlmesh,
}
