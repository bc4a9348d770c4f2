"""Unit tests, whose fixtures take their types from relations: they are compiled when the columns of those are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dbt.adapters.lakehouse.preflight.compiling import Compiling, DependsOnResults
from dbt.adapters.lakehouse.preflight.drafts import RESULTS, UNREADABLE
from dbt.adapters.lakehouse.run.values import Draft
from dbt.adapters.lakehouse.tables.values import Column


def draft(test: Any, config: Any, manifest: Any, compiling: Compiling) -> tuple[Draft, Any]:
    """The query of a unit test, and the node that dbt makes of it. Raises dbt's ``CompilationError``."""
    from dbt.parser.unit_tests import UnitTestManifestLoader
    from dbt_common.exceptions import CompilationError

    try:
        own = UnitTestManifestLoader(manifest, config, {test.unique_id}).load()
        node = compiling.node(own.nodes[test.unique_id], own)
    except CompilationError:
        raise
    except DependsOnResults:
        return Draft(node=test.unique_id, why=RESULTS), None
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        return Draft(node=test.unique_id, why=f"{UNREADABLE}: {type(error).__name__}: {said}"), None
    return Draft(node=test.unique_id, sql=node.compiled_code), node


def unexpected(test: Any, columns: Iterable[Column]) -> str:
    """What is wrong with the columns of the rows that a unit test expects; empty if nothing is."""
    rows = test.expect.rows
    known = [column.name for column in columns]
    if not isinstance(rows, list) or not known:
        return ""
    folded = {name.lower() for name in known}
    wrong = sorted({str(name) for row in rows for name in row if str(name).lower() not in folded})
    if not wrong:
        return ""
    return (
        f"Invalid column name: {wrong[0]!r} in unit test fixture for expected output.\n"
        f"Accepted columns for expected output are: {known}"
    )
