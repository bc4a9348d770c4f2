"""``dbt.tests.adapter.utils.test_listagg``."""

from dbt.tests.adapter.utils.test_listagg import BaseListagg


class TestListagg(BaseListagg):
    pass
