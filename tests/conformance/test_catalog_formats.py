"""Catalogs of earlier releases open and are brought up to this one's format; those of later releases are refused."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import pytest
import sqlalchemy as sa

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.catalog import sql_database
from dbt.adapters.lakehouse.catalog.model import ANY, Put, RefKind, RunRecord, RunStatus, TableEntry, key_of
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import CatalogError, TaintedError

TO_2 = """
DROP TABLE moves;
DROP TABLE locations;
DROP INDEX commits_by_run;
DROP INDEX runs_by_base;
ALTER TABLE commits DROP COLUMN collected;
DELETE FROM lakehouse_meta WHERE name = 'release';
UPDATE lakehouse_meta SET value = '2' WHERE name = 'format'
"""
TO_1 = """
DROP TABLE results;
DROP TABLE claims;
UPDATE lakehouse_meta SET value = '1' WHERE name = 'format'
"""
WHO = {"author": "anna", "message": "test"}


@pytest.fixture
def url(catalog_url: str) -> str:
    return catalog_url


def run_sql(url: str, script: str) -> None:
    """Run statements by a connection of its own."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in filter(str.strip, script.split(";")):
            connection.execute(sa.text(statement))
    engine.dispose()


def described(url: str) -> dict[str, object]:
    """Tables with their columns and indexes."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    inspector = sa.inspect(engine)
    found = {
        table: (
            sorted(
                (column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)
            ),
            sorted((index["name"], tuple(index["column_names"])) for index in inspector.get_indexes(table)),
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted(tuple(key["constrained_columns"]) for key in inspector.get_foreign_keys(table)),
        )
        for table in inspector.get_table_names()
    }
    engine.dispose()
    return found


def table(name: str, *, file: str) -> TableEntry:
    return TableEntry(
        schema="s",
        name=name,
        metadata_location=f"file:///lake/{file}.metadata.json",
        table_uuid=name,
        snapshot_id=1,
        location=f"file:///lake/{name}",
        columns=(),
        rows=1,
        size_bytes=1,
    )


def put(entry: TableEntry) -> Put:
    return Put(key=key_of(entry), entry=entry, expected=ANY)


def fill(catalog: SqlCatalog) -> None:
    """A lake with a past: a table on main that a failed run reused, and one that only the failed run wrote."""
    catalog.commit("main", [put(table("good", file="good"))], **WHO)
    base = catalog.resolve("main")
    record = RunRecord(
        id="bad",
        branch="run/bad",
        target="main",
        base=base.id,
        command="build",
        status=RunStatus.FAILED,
        owner="host:1:1",
        started_at=base.time,
        heartbeat_at=base.time,
    )
    catalog.save_run(record)
    catalog.create_ref("run/bad", RefKind.BRANCH, base.id, run="bad")
    puts = [put(table("again", file="good")), put(table("new", file="bad"))]
    catalog.commit("run/bad", puts, run="bad", **WHO)
    catalog.create_ref("v1", RefKind.TAG, "main")


def check(catalog: SqlCatalog) -> None:
    """What ``fill`` made is there, and what is known of it holds."""
    main = catalog.resolve("v1")
    assert [str(key) for key in catalog.entries(main.id)] == ["s.good"]
    assert not main.collected
    assert catalog.recall("0" * 64) is None
    catalog.create_ref("dev", RefKind.BRANCH, "main")
    catalog.commit("dev", [put(table("clone", file="good"))], **WHO)
    assert catalog.merge("dev", "main", **WHO).commit
    catalog.commit("dev", [put(table("other", file="bad"))], **WHO)
    with pytest.raises(TaintedError, match=r"bad \(failed\); tables: s\.other"):
        catalog.merge("dev", "main", **WHO)
    catalog.assign("dev", "v1", expected=catalog.resolve("dev").id)
    assert catalog.resolve(f"dev@{main.time.isoformat()}") == main


def test_a_catalog_of_the_format_before_functions_is_brought_up_as_it_is(url):
    with closing(SqlCatalog.open(url)) as catalog:
        fill(catalog)
    as_made = described(url)
    run_sql(url, "UPDATE lakehouse_meta SET value = '3' WHERE name = 'format'")
    with closing(SqlCatalog.open(url, create=False)) as catalog:
        check(catalog)
    assert described(url) == as_made
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT value FROM lakehouse_meta WHERE name = 'format'")).scalar() == "4"
    engine.dispose()


@pytest.mark.parametrize("format_", [1, 2])
def test_a_catalog_of_an_earlier_format_is_brought_up(url, format_):
    with closing(SqlCatalog.open(url)) as catalog:
        fill(catalog)
    as_made = described(url)
    run_sql(url, TO_2 + (";" + TO_1 if format_ == 1 else ""))
    assert described(url) != as_made
    with closing(SqlCatalog.open(url, create=False)) as catalog:
        check(catalog)
    assert described(url) == as_made
    with closing(SqlCatalog.open(url, create=False)) as catalog:
        assert catalog.resolve("v1") is not None


OPEN = """
import sys
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
sys.stdin.readline()
catalog = SqlCatalog.open(sys.argv[1], create=False)
print(catalog.resolve("v1").id)
catalog.close()
"""


def test_processes_that_open_an_old_catalog_at_once_bring_it_up_once(url):
    with closing(SqlCatalog.open(url)) as catalog:
        fill(catalog)
        tagged = catalog.resolve("v1").id
    run_sql(url, TO_2)
    openers = [
        subprocess.Popen([sys.executable, "-c", OPEN, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("\n")
        opener.stdin.flush()
    for opener in openers:
        out, _ = opener.communicate(timeout=60)
        assert (opener.returncode, out.strip()) == (0, tagged)
    with closing(SqlCatalog.open(url, create=False)) as catalog:
        check(catalog)


def test_an_upgrade_that_is_cut_off_leaves_the_old_format(url, monkeypatch):
    with closing(SqlCatalog.open(url)) as catalog:
        fill(catalog)
    run_sql(url, TO_2)
    before = described(url)

    def stop(_connection: sa.Connection) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sql_database.Database, "fills", {2: stop})
        with pytest.raises(KeyboardInterrupt):
            SqlCatalog.open(url, create=False)
    assert described(url) == before
    with closing(SqlCatalog.open(url, create=False)) as catalog:
        check(catalog)


def test_a_catalog_of_a_later_release_is_refused_and_says_which_to_install(url):
    SqlCatalog.open(url).close()
    run_sql(
        url,
        "UPDATE lakehouse_meta SET value = '99' WHERE name = 'format';"
        "UPDATE lakehouse_meta SET value = '7.8.9' WHERE name = 'release'",
    )
    before = described(url)
    with pytest.raises(CatalogError) as caught:
        SqlCatalog.open(url)
    said = str(caught.value)
    assert f"has format 99, this release of dbt-lakehouse, {version}, reads format {sql_database.FORMAT};" in said
    assert said.endswith("install dbt-lakehouse 7.8.9 or newer")
    assert described(url) == before
