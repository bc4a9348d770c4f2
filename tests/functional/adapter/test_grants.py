"""``dbt.tests.adapter.grants``: a lake has no grants, so configured ones change nothing and dbt says so, once.

The suite's other classes look for GRANT and REVOKE in the log of a second run; there is nothing to find.
"""

import pytest
from dbt.tests.adapter.grants.test_model_grants import BaseModelGrants
from dbt.tests.util import get_manifest, run_dbt, run_dbt_and_capture

_NOTE = "grants are not applied"


class TestModelGrants(BaseModelGrants):
    @pytest.fixture(scope="class", autouse=True)
    def get_test_users(self, request):
        users = ["reader", "writer", "auditor"]
        with pytest.MonkeyPatch.context() as patch:
            for number, user in enumerate(users, 1):
                patch.setenv(f"DBT_TEST_USER_{number}", user)
            # The project reads the environment when it is set up.
            request.getfixturevalue("project")
            yield users

    def assert_expected_grants_match_actual(self, project, relation_name, expected_grants):
        node = get_manifest(project.project_root).nodes[f"model.test.{relation_name}"]
        assert node.config.grants == expected_grants  # what was configured is known, and nothing else is done with it


_SNAPSHOT = """
{% snapshot kept %}
{{ config(unique_key='id', strategy='check', check_cols='all', grants={'select': ['reader']}) }}
select * from {{ ref('numbers') }}
{% endsnapshot %}
"""


class TestGrantsOfEveryKind:
    @pytest.fixture(scope="class")
    def seeds(self):
        return {
            "numbers.csv": "id,n\n1,10\n",
            "s.yml": "seeds: [{name: numbers, config: {grants: {select: [reader]}}}]",
        }

    @pytest.fixture(scope="class")
    def models(self):
        config = "{{{{ config(materialized='{}', grants={{'select': ['reader']}}) }}}} select * from {{{{ ref('numbers') }}}}"
        return {f"a_{kind}.sql": config.format(kind) for kind in ("table", "view", "incremental")}

    @pytest.fixture(scope="class")
    def snapshots(self):
        return {"kept.sql": _SNAPSHOT}

    def test_one_note_and_no_failure(self, project):
        results, output = run_dbt_and_capture(["build"])
        assert len(results) == 5
        assert output.count(_NOTE) == 1
        assert len(run_dbt(["build"])) == 5
