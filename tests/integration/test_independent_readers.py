"""Every kind of table, read by three engines that share no code: our SELECT, pyiceberg, and DuckDB's iceberg_scan."""

from __future__ import annotations

import importlib.util
import os
import uuid
from pathlib import Path

import duckdb
import pytest
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.jobs.s3_access import Grant
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import uri_of
from dbt.adapters.lakehouse.tables import combine, deletes, evolve, maintenance, metadata, reader, rows, writer
from dbt.adapters.lakehouse.tables.values import Constraints, TableSpec

# iceberg's own start-up installs what it depends on, unless that is loaded already
EXTENSIONS = ("avro", "httpfs", "iceberg")


def _extension(name: str) -> Path | None:
    module = importlib.util.find_spec(f"duckdb_extension_{name}")
    if module is None or not module.submodule_search_locations:
        return None
    file = Path(next(iter(module.submodule_search_locations))) / "extensions" / f"v{duckdb.__version__}"
    file /= f"{name}.duckdb_extension"
    return file if file.exists() else None


@pytest.fixture(scope="module")
def iceberg():
    missing = [name for name in EXTENSIONS if _extension(name) is None]
    if missing:
        reason = f"DuckDB {duckdb.__version__} extensions {', '.join(missing)} are not installed"
        if "iceberg" in os.environ.get("LAKEHOUSE_TEST_REQUIRE", ""):
            pytest.fail(reason)
        pytest.skip(reason)
    with duckdb.connect() as con:
        con.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        for name in EXTENSIONS:
            con.execute(f"LOAD '{_extension(name)}'")
        con.execute("SET TimeZone = 'UTC'")
        yield con


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    """Settings of a lake in each kind of store."""
    if request.param == "local":
        return LakeSettings(warehouse=uri_of(tmp_path / "lake"), catalog="")
    s3 = request.getfixturevalue("s3")
    return LakeSettings(warehouse=s3.uri, catalog="", storage_options=s3.options)


@pytest.fixture
def con(place, tmp_path):
    with duckdb.connect(config={"temp_directory": str(tmp_path / "private")}) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
        Grant(connection, place)
        yield connection


@pytest.fixture
def spec(place):
    def make(name="t", **rest):
        return TableSpec(location=f"{place.warehouse}/{name}", table_uuid=str(uuid.uuid4()), **rest)

    return make


@pytest.fixture
def stored(place):
    """A table as pyiceberg opens it, with a file system of its own."""
    options = place.storage_options
    names = {"endpoint": "endpoint", "region": "region", "access_key_id": "access-key-id"}
    names["secret_access_key"] = "secret-access-key"
    properties = {f"s3.{theirs}": options[ours] for ours, theirs in names.items() if options}
    return lambda table: StaticTable.from_metadata(table.metadata_location, properties)


@pytest.fixture(autouse=True)
def delete_files(monkeypatch):
    """Small files get delete files too, which is what is to be read here."""
    monkeypatch.setattr(deletes, "REWRITTEN_ROWS", 0)


BASE = "SELECT i AS id, i % 3 AS p, 'n' || i AS name, DATE '2020-01-01' + i::INTEGER AS day FROM range(100) r(i)"
# A null list of structs is left out: pyiceberg reads it as an empty list, though the file says null.
TYPES = """
SELECT i AS a, i::SMALLINT AS b, i::HUGEINT AS c, i::UBIGINT AS d, i / 7 AS e, (i / 7)::FLOAT AS f, i::DECIMAL(12,3) AS g,
       i % 2 = 0 AS h, 'x' || i AS j, ('x' || i)::BLOB AS k, DATE '1969-12-25' + i::INTEGER AS l,
       TIME '12:00:00' AS m, TIMESTAMP '1969-12-31 23:59:59.999999' + INTERVAL (i) SECOND AS n,
       TIMESTAMPTZ '2020-01-01 00:00:00+00' AS o, '00112233-4455-6677-8899-aabbccddeeff'::UUID AS q,
       'a'::ENUM('a', 'b') AS r, '{"a": 1}'::JSON AS s, INTERVAL (i) DAY AS t, [i, NULL] AS u, [i, i]::BIGINT[2] AS v,
       MAP {'k': i} AS w, {'x': i, 'y': {'z': ['q']}} AS x, [{'a': i}] AS y, NULL::INTEGER AS z,
       TIMESTAMP_NS '2020-01-01 00:00:00.000001' AS aa, '101'::BIT AS bb
FROM range(10) r(i) UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, [], NULL, NULL, NULL"""


def types(con, spec):
    yield writer.create(con, TYPES, spec())


def empty(con, spec):
    table = writer.create(con, f"{BASE} LIMIT 0", spec())
    yield table
    yield writer.append(con, BASE, table.metadata_location)


def partitioned(con, spec):
    parts = ("p", "month(day)", "bucket(4, id)", "truncate(2, name)")
    table = writer.create(con, BASE, spec(partition_by=parts))
    yield table
    table = writer.overwrite(con, f"FROM ({BASE}) WHERE id < 5", table.metadata_location)
    yield table
    table = rows.delete(con, table.metadata_location, "id % 4 = 0")
    yield table
    yield maintenance.compact(con, table.metadata_location)


def partition_of_nulls(con, spec):
    yield writer.create(
        con, "SELECT unnest(['a/b', 'c=d', NULL, '']) AS p, 1 AS x", spec(partition_by=("p", "void(x)"))
    )


def evolved(con, spec):
    location = writer.create(con, BASE, spec()).metadata_location
    location = evolve.add_column(con, location, "extra", "INTEGER").metadata_location
    location = evolve.rename_column(location, "name", "title").metadata_location
    location = evolve.change_type(con, location, "id", "BIGINT").metadata_location
    location = evolve.drop_column(location, "p").metadata_location
    yield reader.describe(location)
    query = "SELECT 5000000000 AS id, 'y' AS title, DATE '2000-01-01' AS day, 7 AS extra"
    table = writer.append(con, query, location)
    yield table
    yield evolve.add_column(con, rows.delete(con, table.metadata_location, "id < 20").metadata_location, "p", "VARCHAR")


def appended(con, spec):
    location = writer.create(con, BASE, spec(sort_by=("id desc",))).metadata_location
    for _ in range(25):
        location = writer.append(con, f"{BASE} LIMIT 3", location).metadata_location
    yield reader.describe(location)


def synced(con, spec):
    location = writer.create(con, BASE, spec()).metadata_location
    query = "SELECT 'k' AS id, 1.5 AS new"
    yield writer.append(con, query, location, on_schema_change="sync_all_columns")


def replaced(con, spec):
    first = writer.create(con, BASE, spec())
    yield writer.create(con, "SELECT 1 AS new, 'x' AS name", spec(), replaces=first.metadata_location)


def patched(con, spec):
    key = Constraints(primary_key=("id",))
    table = writer.create(con, BASE, spec(constraints=key))
    for low in (10, 20, 15):

        def edit(name, low=low):
            con.execute(
                f"UPDATE {name} SET name = 'new' WHERE id < {low + 3}; INSERT INTO {name} VALUES ({1000 + low}, 1, '', NULL)"
            )

        table = rows.patch(
            con, table.metadata_location, matching=f"id BETWEEN {low} AND {low + 9}", edit=edit, constraints=key
        )
        assert metadata.load(table.metadata_location).deletes
        yield table


def deleted(con, spec):
    table = writer.create(con, BASE, spec("it's [a] b%20c=ü*"))
    for predicate in ("id = 5", "id % 10 = 7", "id > 95 OR NULL"):
        table = rows.delete(con, table.metadata_location, predicate)
        assert len(metadata.load(table.metadata_location).deletes) == 1
        yield table
    yield maintenance.compact(con, table.metadata_location)
    yield rows.delete(con, table.metadata_location, None)


def odd_names(con, spec):
    yield writer.create(
        con, 'SELECT 1 AS "a.b", 2 AS "q""x", 3 AS "with space", 4 AS "naïve 🎈", 5 AS filename', spec()
    )


def combined(con, spec):
    """Of two sides that added rows, and of two that overwrote, deleted and added in partitions of their own."""
    base = writer.create(con, BASE, spec()).metadata_location
    base = rows.delete(con, base, "id < 7").metadata_location
    sides = [writer.append(con, f"{BASE} WHERE id % 10 = {side}", base).metadata_location for side in (1, 2)]
    yield combine.plan(base, *sides).write()
    base = writer.create(con, BASE, spec("parts", partition_by=("p",))).metadata_location
    base = rows.delete(con, base, "id = 50 OR id = 51").metadata_location
    source = writer.overwrite(con, f"{BASE} WHERE id > 90 AND p = 0", base).metadata_location
    source = rows.delete(con, source, "id = 3 OR id = 1").metadata_location
    target = rows.delete(con, base, "id IN (2, 5, 8)").metadata_location
    target = writer.append(con, f"{BASE} WHERE p = 2 LIMIT 5", target).metadata_location
    table = combine.plan(base, source, target).write()
    assert len(metadata.load(table.metadata_location).deletes) == 2
    yield table
    source = writer.overwrite(con, f"{BASE} WHERE id < 10 AND p = 1", source).metadata_location
    yield combine.plan(source, table.metadata_location, source).write()


KINDS = [
    types,
    empty,
    partitioned,
    partition_of_nulls,
    evolved,
    appended,
    synced,
    replaced,
    patched,
    deleted,
    combined,
    odd_names,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_pyiceberg_and_we_agree(kind, con, spec, stored):
    for table in kind(con, spec):
        arrow = stored(table).scan().to_arrow()  # noqa: F841  # read by name below
        state = metadata._read(table.metadata_location)
        ours = reader.scan(state, state.data, stored=True)
        columns = ", ".join(f'CAST("{c.name.replace(chr(34), chr(34) * 2)}" AS VARCHAR)' for c in table.columns)
        wanted = con.execute(f"SELECT {columns} FROM ({ours}) ORDER BY ALL").fetchall()
        # extension types (uuid) reach DuckDB from Arrow as what they are made of: compare as text
        found = con.execute(f"SELECT {columns} FROM arrow ORDER BY ALL").fetchall()
        assert found == wanted
        assert len(found) == table.rows


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_iceberg_scan_and_we_agree(kind, con, spec, iceberg, place):
    Grant(iceberg, place)
    for table in kind(con, spec):
        location = table.metadata_location.removeprefix("file://").replace("'", "''")
        state = metadata._read(table.metadata_location)
        ours = reader.scan(state, state.data, stored=True)
        wanted = con.execute(f"SELECT * FROM ({ours}) ORDER BY ALL").fetchall()
        assert iceberg.execute(f"SELECT * FROM iceberg_scan('{location}') ORDER BY ALL").fetchall() == wanted
        assert [c[0] for c in iceberg.description] == [c.name for c in table.columns]
