"""``dbt.tests.adapter.python_model``. Models get DuckDB's relations, and a connection as their session."""

import inspect

import dbt.parser.models
import pytest
from dbt.tests.adapter.python_model.test_python_model import (
    BasePythonEmptyTests,
    BasePythonIncrementalTests,
    BasePythonMetaGetTests,
    BasePythonModelTests,
    BasePythonSampleTests,
    m_1,
    python_model_meta_from_schema,
    python_model_meta_get,
    schema_yml_with_meta,
)


class TestPythonModel(BasePythonModelTests):
    pass


_INCREMENTAL = """
def model(dbt, session):
    dbt.config(materialized="incremental", unique_key="id")
    df = dbt.ref("m_1")
    if dbt.is_incremental:
        df = df.filter("id > 5")
    return df
"""


class TestPythonIncremental(BasePythonIncrementalTests):
    """The suite filters as Snowpark does; a relation of DuckDB takes SQL."""

    @pytest.fixture(scope="class")
    def models(self):
        return {"m_1.sql": m_1, "incremental.py": _INCREMENTAL}


def _with_pandas(model):
    """A model of the suite that makes its result with pandas, where it asks its session for a Spark frame."""
    return "import pandas\n" + model.replace("session.createDataFrame(data, [", "pandas.DataFrame(data, columns=[")


@pytest.mark.skipif(
    "meta_get" not in inspect.getsource(dbt.parser.models),
    reason="the installed dbt-core has no meta_get in Python models",
)
class TestPythonMetaGet(BasePythonMetaGetTests):
    """The suite's models ask their session for a Spark frame; a session is a connection of DuckDB here, and pandas does it."""

    @pytest.fixture(scope="class")
    def models(self):
        return {
            "meta_test.py": _with_pandas(python_model_meta_get),
            "meta_from_schema.py": _with_pandas(python_model_meta_from_schema),
            "schema.yml": schema_yml_with_meta,
        }


class _Days:
    """DuckDB takes no time zone in a TIMESTAMP, which the suite's own literals have."""

    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return """
        {{ config(materialized='table', event_time='event_time') }}
        select id, timestamp '2024-12-31 01:25:00' + to_days(id) as event_time from (values (1), (2), (3)) as days(id)
        """


class TestPythonEmpty(_Days, BasePythonEmptyTests):
    pass


class TestPythonSample(_Days, BasePythonSampleTests):
    pass
