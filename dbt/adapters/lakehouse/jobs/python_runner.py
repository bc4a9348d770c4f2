"""What the process of a Python model runs: ``python -I -S python_runner.py SPECIFICATION``.

It finds its packages by the specification alone, binds the inputs in a DuckDB of its own, calls the model, and leaves an
Arrow IPC stream with the rows and a JSON document that says how it went. It needs DuckDB, pyarrow, the standard library
and ``python_model``; nothing of it is trusted by the process that started it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BATCH_ROWS = 122_880
_MESSAGE = 100_000

Specification = Mapping[str, Any]


def main(path: str) -> None:
    """Run the model that a specification describes. Does not return."""
    own = os.getpid()
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not imported yet where time counts
        specification = json.load(file)
    _limit(specification["limits"])
    with contextlib.suppress(ValueError, OSError):
        faulthandler.enable()
    _find_packages(specification)
    outcome: dict[str, str]
    try:
        outcome = _run(specification)
    except BaseException as error:  # whatever a model does, its process says so before it ends
        outcome = _failure(error, specification)
    if os.getpid() != own:
        # A process that the model forked off, and that came back here: it has no say.
        os._exit(1)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    Path(specification["outcome"]).write_text(json.dumps(outcome), encoding="utf-8")
    # Whatever the model left running ends with it.
    os._exit(0)


def _limit(limits: Mapping[str, int]) -> None:
    import resource

    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _find_packages(specification: Specification) -> None:
    import site

    # Not the folder of this file, whose modules would be in the way of others of their names.
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    for folder in specification["folders"]:
        site.addsitedir(folder)
    if specification["root"] not in sys.path:
        sys.path.append(specification["root"])
    sys.path.extend(specification["modules"])


def _import_duckdb(version: str) -> None:
    """Import DuckDB without its search for its own version among all that is installed: that takes as long as loading it."""
    name = "importlib.metadata"
    if name in sys.modules:
        return
    known = types.ModuleType(name)
    known.version = {"duckdb": version}.__getitem__  # type: ignore[attr-defined]
    sys.modules[name] = known
    # One that wants more of it is imported as usual.
    with contextlib.suppress(ImportError, AttributeError, KeyError):
        import duckdb  # noqa: F401
    del sys.modules[name]


def _run(specification: Specification) -> dict[str, str]:
    _import_duckdb(specification["duckdb"])
    import duckdb

    from dbt.adapters.lakehouse.jobs import python_model

    connection = duckdb.connect(":memory:", config=specification["config"])
    _prepare(connection, specification)
    try:
        result = python_model.call(
            specification["code"], specification["path"], specification["lines_before"], connection
        )
    except (MemoryError, duckdb.OutOfMemoryException):
        raise
    except BaseException as error:
        return {"kind": "python_model", "message": python_model.explain(error, specification["path"])[:_MESSAGE]}
    _import_pyarrow(specification["code"])
    _write(python_model.expose(result, connection), connection, specification["result"])
    return {"kind": "ok"}


def _prepare(connection: Any, specification: Specification) -> None:
    """Make the connection like the one that the model would have in the worker."""
    import duckdb

    for extension in specification["extensions"]:
        connection.execute(f"LOAD '{extension}'")
    for name, value in specification["settings"].items():
        with contextlib.suppress(duckdb.Error):
            connection.execute(f"SET GLOBAL {name} = '{value}'")
    for database in specification["databases"]:
        connection.execute(f"ATTACH ':memory:' AS {database}")
    for schema in specification["schemas"]:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    connection.execute(f"USE {specification['home']}")
    for number, item in enumerate(specification["inputs"]):
        if "function" in item:
            _make_function(connection, item)
            continue
        sql = item["sql"]
        if item["arrow"] is not None:
            connection.register(f"__lakehouse_input_{number}", _mapped(item["arrow"]))
            sql = f"SELECT * FROM __lakehouse_input_{number}"
        connection.execute(f"CREATE VIEW {item['name']} AS {sql}")
    for item in specification["temporary"]:
        connection.register("__lakehouse_temporary", _mapped(item["arrow"]))
        connection.execute(f"CREATE TEMP TABLE {item['name']} AS SELECT * FROM __lakehouse_temporary")
        connection.unregister("__lakehouse_temporary")
    for statement in specification["statements"]:
        try:
            connection.execute(statement)
        except duckdb.Error as error:
            print(f"not repeated in the model's own process: {statement}: {error}", file=sys.stderr)


def _make_function(connection: Any, item: Mapping[str, Any]) -> None:
    """A function of the lake; one in Python runs right here, with what the model has."""
    said = item["python"]
    if said is not None:
        from dbt.adapters.lakehouse.jobs import function_runner

        loaded = function_runner.Loaded(said)
        gives = connection.sql(f"SELECT CAST(NULL AS {said['gives']}) AS r").to_arrow_table().schema.field(0).type

        def call(*columns: Any) -> Any:
            return loaded.results(columns[: len(said["arguments"])], len(columns[0]), gives)

        call.__signature__ = function_runner.signature(len(said["takes"]))  # type: ignore[attr-defined]
        connection.create_function(
            said["native"], call, said["takes"], said["gives"],
            type="arrow", null_handling="special", side_effects=not said["kept"],
        )  # fmt: skip
    for statement in item["function"]:
        connection.execute(statement)


def _mapped(path: str) -> Any:
    """The rows of an IPC stream where they lie in the file."""
    import pyarrow as pa

    with pa.memory_map(path) as source, pa.ipc.open_stream(source) as reader:
        return reader.read_all()


def _write(select: str, connection: Any, path: str) -> None:
    """The rows of a SELECT as an Arrow IPC stream, batch by batch, in types from which DuckDB makes its own again."""
    import pyarrow as pa

    connection.execute("SET arrow_lossless_conversion = true")
    reader = connection.sql(select).to_arrow_reader(_BATCH_ROWS)
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def _import_pyarrow(code: str) -> None:
    """Import pyarrow for the result of a model that is over; without numpy, which takes longer than all else, if it can."""
    used = {"numpy", "pyarrow", "pandas"} & sys.modules.keys()
    # Functions of a model are called while its rows are written.
    if not used and "create_function" not in code:
        sys.modules["numpy"] = None  # type: ignore[assignment]
        try:
            import pyarrow  # noqa: F401
        finally:
            del sys.modules["numpy"]


def _failure(error: BaseException, specification: Specification) -> dict[str, str]:
    """What went wrong outside of the model's code: with its result, or with memory anywhere."""
    name = type(error).__name__
    kind = {"OutOfMemoryException": "out_of_memory", "MemoryError": "out_of_memory"}.get(name)
    if kind is None and type(error).__module__ in ("duckdb", "_duckdb"):
        kind = "sql"
    message = str(error) or name
    if isinstance(error, ImportError):
        message = f"the environment of {specification['path']} lacks what every model needs: {error}"
    return {"kind": kind or "python_model", "message": message[:_MESSAGE]}


if __name__ == "__main__":
    main(sys.argv[1])
