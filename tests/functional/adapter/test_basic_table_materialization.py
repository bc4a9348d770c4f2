"""``dbt.tests.adapter.basic.test_table_materialization``."""

from dbt.tests.adapter.basic.test_table_materialization import BaseTableMaterialization


class TestTableMaterialization(BaseTableMaterialization):
    pass
