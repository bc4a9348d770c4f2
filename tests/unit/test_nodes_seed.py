"""The SQL that reads a seed's file, beside dbt's own reader."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from dbt_common.clients import agate_helper

from dbt.adapters.lakehouse import nodes

_CSV = 'id,note,day\n1,NULL,2020-01-01\nNuLL,nuLL,NULL\n"",   ,\n2," Null ",null\n3,nullable, 2020-01-02\n4, x ,\n'


@pytest.mark.parametrize("quoted", [True, False])
def test_a_seed_has_its_nulls_where_dbts_own_reader_has_them(tmp_path: Path, quoted: bool) -> None:
    file = tmp_path / "seed.csv"
    file.write_text(_CSV)
    columns = [("id", "integer"), ("note", "text"), ("day", "date")]
    expected = [tuple(row) for row in agate_helper.from_csv(str(file), text_columns=["note"]).rows]
    found = duckdb.execute(nodes.seed_sql(str(file), columns, ",", quoted=quoted))
    assert [name for name, *_ in found.description or ()] == ["id", "note", "day"]
    assert found.fetchall() == expected
    assert expected[1] == (None, None, None)
