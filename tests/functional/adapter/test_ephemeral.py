"""``dbt.tests.adapter.ephemeral``.

Two of the suite's tests compare the file under ``target/run`` with Postgres' CREATE VIEW. Here that file holds the query
alone: what a view is made of goes to the catalog, not into a statement.
"""

import re
from pathlib import Path

from dbt.tests.adapter.ephemeral.test_ephemeral import (
    BaseEphemeralErrorHandling,
    BaseEphemeralMulti,
    BaseEphemeralNested,
)
from dbt.tests.util import check_relations_equal, run_dbt


def _written(model: str) -> str:
    """The query of a model without digits (of schemas) and white space."""
    return re.sub(r"[\d\s]+", "", Path("target", "run", "test", "models", f"{model}.sql").read_text())


class TestEphemeralMulti(BaseEphemeralMulti):
    """The suite compares the text of Postgres' CREATE VIEW. Here what is written is the query alone."""

    def test_ephemeral_multi(self, project):
        run_dbt(["seed"])
        assert len(run_dbt(["run"])) == 3
        for model in ("dependent", "double_dependent", "super_dependent"):
            check_relations_equal(project.adapter, ["seed", model])
        assert _written("double_dependent") == (
            "with__dbt__cte__baseas(select*fromtest_test_ephemeral.seed),"
            "__dbt__cte__base_copyas(select*from__dbt__cte__base)"
            "--base_copyjustpullsfrombase.Makesurethelisted--graphofCTEsallsharethesamedbt_cte__basecte"
            "select*from__dbt__cte__basewheregender='Male'"
            "unionallselect*from__dbt__cte__base_copywheregender='Female'"
        )


class TestEphemeralNested(BaseEphemeralNested):
    """The suite compares the text of Postgres' CREATE VIEW. Here what is written is the query alone."""

    def test_ephemeral_nested(self, project):
        assert len(run_dbt(["run"])) == 2
        assert _written("root_view") == (
            'with__dbt__cte__ephemeral_level_twoas(select*from"lake"."test_test_ephemeral"."source_table"),'
            "__dbt__cte__ephemeralas(select*from__dbt__cte__ephemeral_level_two)"
            "select*from__dbt__cte__ephemeral"
        )


class TestEphemeralErrorHandling(BaseEphemeralErrorHandling):
    pass
