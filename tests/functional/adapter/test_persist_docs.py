"""``dbt.tests.adapter.persist_docs.test_persist_docs``."""

from pathlib import Path

import dbt.include.global_project
import pytest
from dbt.tests.adapter.persist_docs.test_persist_docs import (
    BasePersistDocs,
    BasePersistDocsAllColumnsMissing,
    BasePersistDocsColumnMissing,
    BasePersistDocsCommentOnQuotedColumn,
    BasePersistDocsQuotedColumnCaseSensitive,
    BasePersistDocsQuotedDescriptionNotAppliedOnMismatch,
)
from dbt.tests.util import get_artifact, run_dbt, write_file

_MACROS = Path(dbt.include.global_project.PACKAGE_PATH, "macros", "adapters", "persist_docs.sql")
regards_quotes = pytest.mark.skipif(
    "quote" not in _MACROS.read_text().partition("macro validate_doc_columns")[2],
    reason="the installed dbt-adapters compares quoted columns without their case",
)


class TestPersistDocs(BasePersistDocs):
    pass


class TestPersistDocsColumnMissing(BasePersistDocsColumnMissing):
    pass


class TestPersistDocsAllColumnsMissing(BasePersistDocsAllColumnsMissing):
    pass


@regards_quotes
class TestPersistDocsQuotedColumnCaseSensitive(BasePersistDocsQuotedColumnCaseSensitive):
    pass


@regards_quotes
class TestPersistDocsQuotedDescriptionNotAppliedOnMismatch(BasePersistDocsQuotedDescriptionNotAppliedOnMismatch):
    pass


class TestPersistDocsCommentOnQuotedColumn(BasePersistDocsCommentOnQuotedColumn):
    pass


_SCHEMA = """
models:
  - name: grows
    description: "{0} table"
    columns:
      - {{name: id, description: "{0} id's"}}
      - {{name: Mixed, description: "{0} mixed", quote: true}}
"""
_GROWS = """
{{ config(materialized='incremental', unique_key='id', persist_docs={'relation': true, 'columns': true}) }}
select 1 as id, 2 as "Mixed"
"""


class TestDocsOfATableThatIsKept:
    """An incremental run makes no new table, and its comments follow their descriptions all the same."""

    @pytest.fixture(scope="class")
    def models(self):
        return {"grows.sql": _GROWS, "schema.yml": _SCHEMA.format("first")}

    def test_comments_follow(self, project):
        assert self._comments() == ["first table", "first id's", "first mixed"]
        write_file(_SCHEMA.format("second"), "models", "schema.yml")
        assert self._comments() == ["second table", "second id's", "second mixed"]

    def _comments(self):
        run_dbt(["run"])
        run_dbt(["docs", "generate"])
        node = get_artifact("target", "catalog.json")["nodes"]["model.test.grows"]
        return [node["metadata"]["comment"], *(node["columns"][name]["comment"] for name in ("id", "Mixed"))]
