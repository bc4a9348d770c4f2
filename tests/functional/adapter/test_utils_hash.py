"""``dbt.tests.adapter.utils.test_hash``."""

from dbt.tests.adapter.utils.test_hash import BaseHash


class TestHash(BaseHash):
    pass
