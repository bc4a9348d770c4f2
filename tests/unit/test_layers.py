"""The package's imports point down only, and its heavy dependencies are imported where they are needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dbt" / "adapters" / "lakehouse"
PREFIX = "dbt.adapters.lakehouse"

# From the bottom up. A module may import what stands in its own layer or below.
LAYERS = [
    {"errors", "quoting", "telemetry", "__version__"},
    {"settings"},
    {"storage"},
    {"tables"},
    {"jobs"},
    {"executors", "catalog"},
    {"run"},
    {"lake"},
    {"external_sources", "plugin_sources"},
    {
        "profile",
        "nodes",
        "promises",
        "nested_columns",
        "seeds",
        "row_keys",
        "git_state",
        "demands",
        "column",
        "relation",
    }
    | {"catalog_queries"},
    {"materialized_views", "attached_relations", "project_functions", "cloning"},
    {"target_type"},
    {"credentials", "connections"},
    {"freshness", "catalogs", "inherited"},
    {"templates", "hand_calls"},
    {"compiled"},
    {"memory"},
    {"events"},
    {"preflight"},
    {"again", "ahead", "whereabouts"},
    {"taps"},
    {"external", "materializations"},
    {"service"},
    {"impl", "dev", "ci", "cli"},
    {"__init__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# What may not be imported even though it stands below, or beside.
FORBIDDEN = {
    "jobs": {"catalog", "run"},
    "tables": {"catalog", "run"},
    "executors": {"catalog", "run"},
    "cli": {"impl", "events", "connections", "credentials", "relation", "column", "nodes", "catalog_queries"},
    "service": {"impl", "events", "connections", "credentials", "relation", "column", "nodes", "catalog_queries"},
}
PURE = ("catalog/model.py", "catalog/refs.py", "catalog/graph.py", "catalog/merge.py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def own_part(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, lazily or not, but for type checking alone."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def own_imports(path: Path) -> set[str]:
    own = {name.removeprefix(PREFIX + ".") for name in imports(path) if name.startswith(PREFIX + ".")}
    return {name.partition(".")[0] for name in own} & LEVEL.keys()


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    part = own_part(path)
    assert part in LEVEL, f"{part} has no place among the layers"
    above = {name for name in own_imports(path) if LEVEL[name] > LEVEL[part]}
    # Values of the catalog are what a lake's protocols speak of; profile and credentials share one layer with dbt's side.
    assert not above, f"{path.relative_to(PACKAGE)} imports {above} from above"
    assert not own_imports(path) & FORBIDDEN.get(part, set())


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_do_no_input_or_output(name: str) -> None:
    heavy = ("sqlalchemy", "sqlite3", "duckdb", "pyiceberg", "pyarrow", "pathlib", "os", "subprocess", "socket")
    assert not {found for found in imports(PACKAGE / name) if found.partition(".")[0] in heavy}


def test_dbt_is_not_imported_below_its_own_side() -> None:
    dbt_side = {"impl", "events", "connections", "credentials", "relation", "column", "__init__", "catalog_queries"}
    dbt_side |= {
        "freshness",
        "catalogs",
        "taps",
        "again",
        "ahead",
        "hand_calls",
        "compiled",
        "templates",
        "memory",
        "preflight",
        "dev",
        "ci",
    }
    dbt_side |= {"attached_relations", "cloning", "target_type", "external", "inherited", "materializations"}
    for path in modules():
        if own_part(path) in dbt_side:
            continue
        foreign = {
            n for n in imports(path) if n.partition(".")[0] in ("dbt", "dbt_common") and not n.startswith(PREFIX)
        }
        assert foreign <= {"dbt.adapters"}, f"{path.relative_to(PACKAGE)} imports {foreign}"


def test_init_files_hold_a_map_and_no_code() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent == PACKAGE:
            continue
        body = ast.parse(path.read_text()).body
        assert all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom) for node in body), path


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_a_worker_loads_no_dbt_and_no_catalog() -> None:
    loaded = loaded_by(f"import {PREFIX}.jobs.worker, {PREFIX}.executors.local")
    assert not {name for name in loaded if name.startswith(("dbt.adapters.base", "dbt.adapters.sql", "dbt_common"))}
    assert not {name for name in loaded if name.startswith((f"{PREFIX}.catalog", "sqlalchemy", "pyiceberg"))}


def test_the_adapter_loads_neither_duckdb_nor_iceberg_nor_sqlalchemy() -> None:
    loaded = loaded_by(f"import {PREFIX}.impl")
    assert not {name for name in loaded if name.partition(".")[0] in ("duckdb", "pyiceberg", "sqlalchemy", "pyarrow")}
