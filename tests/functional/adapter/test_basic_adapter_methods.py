"""``dbt.tests.adapter.basic.test_adapter_methods``."""

from dbt.tests.adapter.basic.test_adapter_methods import BaseAdapterMethod


class TestAdapterMethod(BaseAdapterMethod):
    pass
