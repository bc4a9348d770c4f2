"""``dbt.tests.adapter.simple_snapshot.new_record_check_mode``."""

from dbt.tests.adapter.simple_snapshot.new_record_check_mode import BaseSnapshotNewRecordCheckMode


class TestSnapshotNewRecordCheckMode(BaseSnapshotNewRecordCheckMode):
    pass
