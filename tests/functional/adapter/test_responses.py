"""What dbt tells about each node: the words in its log, and ``adapter_response`` in ``run_results.json``."""

import pytest
from dbt.tests.util import run_dbt, run_dbt_and_capture, write_file

_INCREMENTAL = """
{{{{ config(materialized='incremental', incremental_strategy='{strategy}', unique_key='id', partition_by='id') }}}}
select id + {{{{ 2 if is_incremental() else 0 }}}} as id, '{{{{ is_incremental() }}}}' as later from {{{{ ref('numbers') }}}}
"""
_SNAPSHOT = """
{% snapshot kept %}
{{ config(unique_key='id', strategy='check', check_cols='all') }}
select * from {{ ref('numbers') }}
{% endsnapshot %}
"""


class TestResponses:
    @pytest.fixture(scope="class")
    def project_config_update(self):
        # Several of these models are the same at first, so that one would be made of another's result.
        return {"models": {"+reuse": False}}

    @pytest.fixture(scope="class")
    def seeds(self):
        return {"numbers.csv": "id,name\n1,one\n2,two\n3,three\n"}

    @pytest.fixture(scope="class")
    def snapshots(self):
        return {"kept.sql": _SNAPSHOT}

    @pytest.fixture(scope="class")
    def models(self):
        return {
            "a_table.sql": "{{ config(materialized='table') }} select * from {{ ref('numbers') }}",
            "a_view.sql": "select * from {{ ref('a_table') }}",
            "a_frame.py": "def model(dbt, session):\n    return dbt.ref('numbers').arrow()",
            "append.sql": _INCREMENTAL.format(strategy="append"),
            "merge.sql": _INCREMENTAL.format(strategy="merge"),
            "delete_insert.sql": _INCREMENTAL.format(strategy="delete+insert"),
            "overwrite.sql": _INCREMENTAL.format(strategy="insert_overwrite"),
        }

    def test_rows_and_what_was_done(self, project):
        first = _responses(run_dbt(["build"]))
        assert first.pop("numbers") == ("INSERT", 3)
        assert first.pop("a_view") == ("CREATE VIEW", None)
        assert set(first.values()) == {("CREATE TABLE", 3)}
        results, output = run_dbt_and_capture(["build"])
        again = _responses(results)
        assert again["append"] == ("INSERT", 3)
        assert again["merge"] == again["delete_insert"] == ("MERGE", 3)
        assert again["overwrite"] == ("INSERT OVERWRITE", 3)
        assert again["kept"] == ("MERGE", 0)
        assert "OK created sql incremental model" in output
        assert "INSERT OVERWRITE 3" in output

    def test_full_refresh_makes_tables_anew(self, project):
        run_dbt(["build"])
        responses = _responses(run_dbt(["run", "--full-refresh", "--select", "append", "merge"]))
        assert set(responses.values()) == {("CREATE TABLE", 3)}

    def test_models_that_become_files(self, project):
        write_file("{{ config(materialized='external') }} select 1 as id", "models", "outside.sql")
        on_service = project.adapter.config.credentials.service_settings() is not None
        results = run_dbt(["run", "--select", "outside"], expect_pass=not on_service)
        if on_service:
            assert "those of a service write to the lake alone" in results[0].message
        else:
            assert _responses(results) == {"outside": ("CREATE TABLE", 1)}


def _responses(results):
    found = {}
    for result in results:
        response = result.adapter_response
        found[result.node.name] = (response.get("code"), response.get("rows_affected"))
    return found
