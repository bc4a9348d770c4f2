"""Runs the code of a dbt Python model against a DuckDB connection.

Imports nothing but DuckDB and the errors, since it also runs in the process of a model's own (``python_runner``).
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb

from dbt.adapters.lakehouse.errors import PythonModelError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.jobs.job import PythonCode

RESULT = "__lakehouse_python_result"
"""The name under which ``expose`` makes a model's result readable in SQL."""

_STORED = "memory.main.__lakehouse_python_rows"
_BATCHES = "__lakehouse_python_batches"


def run_model(source: PythonCode, cursor: duckdb.DuckDBPyConnection) -> Any:
    """Call ``model(dbt, session)`` and return what it returns.

    ``dbt.ref`` and ``dbt.source`` give DuckDB relations, ``session`` is the connection. Raises ``PythonModelError`` with a
    traceback whose lines are those of the user's file.
    """
    # Imported late: a process of the model's own has no use for it.
    from dbt.adapters.lakehouse.jobs.project_modules import forgotten_after

    try:
        with forgotten_after(source.path, source.modules):
            return call(source.code, source.path, source.line, cursor)
    except duckdb.InterruptException:
        raise
    except Exception as error:
        raise PythonModelError(explain(error, source.path)) from error


def call(code: str, filename: str, before: int, cursor: duckdb.DuckDBPyConnection) -> Any:
    """Call the model of ``code``, which stands after so many lines of its file. Raises what it raises."""
    # Registered so that tracebacks can show the source line even where the file itself is not at hand.
    code = "\n" * before + code
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": "__dbt_python_model__", "__file__": filename}
    exec(compile(code, filename, "exec"), namespace)
    dbt_object = namespace["dbtObj"](_loader(cursor))
    return namespace["model"](dbt_object, cursor)


def _loader(cursor: duckdb.DuckDBPyConnection) -> Callable[[str], duckdb.DuckDBPyRelation]:
    def load(relation: str) -> duckdb.DuckDBPyRelation:
        return cursor.sql(f"SELECT * FROM {relation}")

    return load


def explain(error: BaseException, filename: str) -> str:
    """What a model raised, as Python shows it, from the user's file on."""
    frames = traceback.extract_tb(error.__traceback__)
    # What is above the user's file is this adapter's business and would only hide the line that matters.
    first = next((i for i, frame in enumerate(frames) if frame.filename == filename), 0)
    lines = traceback.format_list(frames[first:])
    return "Python model failed:\n" + "".join(lines) + "".join(traceback.format_exception_only(error)).rstrip()


def expose(result: Any, cursor: duckdb.DuckDBPyConnection) -> str:
    """Make a model's result readable as the relation ``RESULT`` and return a SELECT of it.

    Takes DuckDB relations, Arrow tables, batches, readers and datasets, pandas and polars frames. Raises
    ``PythonModelError`` for anything else.
    """
    if isinstance(result, duckdb.DuckDBPyRelation):
        try:
            result.create_view(RESULT, replace=True)
            cursor.execute(f"DESCRIBE {RESULT}")
        except duckdb.Error:
            # A relation over Python objects, or of a connection the model opened itself, cannot become a view here.
            return _store(result.to_arrow_reader(), cursor)
        return f"SELECT * FROM {RESULT}"
    kind = f"{type(result).__module__}.{type(result).__qualname__}"
    if kind.startswith("polars."):
        frame = result.collect() if hasattr(result, "collect") else result
        if not hasattr(frame, "to_arrow"):
            raise PythonModelError(_wrong_type(kind))
        cursor.register(RESULT, frame.to_arrow())
    elif hasattr(result, "read_next_batch"):
        return _store(result, cursor)
    elif kind.startswith(("pandas.", "pyarrow.")) and not kind.endswith((".Series", "Array")):
        cursor.register(RESULT, result)
    else:
        raise PythonModelError(_wrong_type(kind))
    return f"SELECT * FROM {RESULT}"


def _store(reader: Any, cursor: duckdb.DuckDBPyConnection) -> str:
    """Keep what can be read but once. DuckDB moves what does not fit into memory to its temporary directory."""
    # By a connection of its own: the batches may come from ``cursor``, where any other statement would end them.
    with cursor.cursor() as other:
        other.register(_BATCHES, reader)
        other.execute(f"CREATE OR REPLACE TABLE {_STORED} AS SELECT * FROM {_BATCHES}")
    return f"SELECT * FROM {_STORED}"


def conceal(cursor: duckdb.DuckDBPyConnection) -> None:
    """Undo ``expose``."""
    cursor.execute(f"DROP VIEW IF EXISTS {RESULT}")
    cursor.execute(f"DROP TABLE IF EXISTS {_STORED}")


def _wrong_type(kind: str) -> str:
    return (
        f"the model returned a {kind}; "
        "return a DuckDB relation, a pandas or polars DataFrame, or an Arrow table, record batch reader or dataset"
    )
