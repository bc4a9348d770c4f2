"""``dbt.tests.adapter.utils.test_validate_sql``."""

from dbt.tests.adapter.utils.test_validate_sql import BaseValidateSqlMethod


class TestValidateSqlMethod(BaseValidateSqlMethod):
    pass
