"""What the store of a service does, in SQLite and in PostgreSQL."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import CatalogError
from dbt.adapters.lakehouse.service.audit import AuditEntry
from dbt.adapters.lakehouse.service.config import Retention
from dbt.adapters.lakehouse.service.database import store_url
from dbt.adapters.lakehouse.service.store import ServiceStore

_numbers = itertools.count()

Open = Callable[[], ServiceStore]


@pytest.fixture(params=["sqlite", "postgres"])
def catalog_url(request, tmp_path) -> str:
    """Where a catalog is that exists already: the store goes beside it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    else:
        import psycopg

        server, name = request.getfixturevalue("postgres"), f"service_{next(_numbers)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        url = f"{server}&options={quote(f'-csearch_path={name}')}"
    SqlCatalog.open(url).close()
    return url


@pytest.fixture
def open_store(catalog_url: str) -> Iterator[Open]:
    """Opens the same store as often as it is called: each a handle of its own."""
    opened: list[ServiceStore] = []

    def open_it() -> ServiceStore:
        opened.append(ServiceStore.open(catalog_url))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open) -> ServiceStore:
    return open_store()


def test_it_stands_beside_the_catalog_and_disturbs_it_not(catalog_url: str, store: ServiceStore) -> None:
    store.save_run_state("r", "ann", "{}")
    catalog = SqlCatalog.open(catalog_url, create=False)
    try:
        assert [ref.name for ref in catalog.refs()] == ["main"]
    finally:
        catalog.close()


@pytest.mark.parametrize(
    ("catalog", "store"),
    [
        ("sqlite:////lake/catalog.sqlite", "sqlite:////lake/service.sqlite"),
        ("/lake/catalog.sqlite", "sqlite:////lake/service.sqlite"),
        ("sqlite:////lake/other.db", "sqlite:////lake/other.service.sqlite"),
        ("postgresql://ann@host/lake", "postgresql://ann@host/lake"),
    ],
)
def test_where_it_is(catalog: str, store: str) -> None:
    assert store_url(catalog) == store


def test_without_leave_to_create_it_says_what_makes_one(catalog_url: str) -> None:
    with pytest.raises(CatalogError, match="lakehouse token create"):
        ServiceStore.open(catalog_url, create=False)


def test_a_store_of_another_format_is_not_opened(catalog_url: str, store: ServiceStore) -> None:
    with store._database.write() as connection:
        connection.execute(sa.text("UPDATE lakehouse_service_meta SET value = '99'"))
    with pytest.raises(
        CatalogError, match=r"service store .* has format 99, this release of dbt-lakehouse, .*, reads format 1"
    ):
        ServiceStore.open(catalog_url)


def test_a_file_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    file = tmp_path / "service.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    with pytest.raises(CatalogError, match="not a lakehouse service store: it holds other tables"):
        ServiceStore.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}")


def test_many_open_a_new_store_at_once(open_store: Open) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: open_store(), range(8)))
    stores[0].save_run_state("r", "ann", "{}")
    assert all(store.run_state("r") == ("ann", "{}") for store in stores)


def test_tokens_come_back_as_they_were_made(store: ServiceStore, open_store: Open) -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    made, text = store.create_token(name="n", user="ann", role="developer", created_by="root", expires_at=until)
    later, _ = store.create_token(name="m", user="bob", role="reader", created_by="root")
    other = open_store()
    assert other.token(made.id) == made
    assert other.tokens() == [later, made]
    assert other.token("nothing") is None
    assert made.fault(datetime(2029, 12, 31, tzinfo=UTC)) is None
    assert "expired" in (made.fault(until) or "")
    revoked = other.revoke_token(made.id)
    assert revoked.revoked_at is not None
    assert store.revoke_token(made.id) == revoked
    assert "revoked" in (revoked.fault() or "")
    assert text.startswith(f"lh_{made.id}_")


def test_run_states_are_kept_replaced_and_forgotten(store: ServiceStore, open_store: Open) -> None:
    store.save_run_state("r1", "ann", '{"a": 1}')
    store.save_run_state("r2", "bob", "{}")
    store.save_run_state("r1", "ann", '{"a": 2}')
    other = open_store()
    assert other.run_state("r1") == ("ann", '{"a": 2}')
    assert {(state.run, state.user) for state in other.run_states()} == {("r1", "ann"), ("r2", "bob")}
    other.forget_run_state("r1")
    other.forget_run_state("r1")
    assert store.run_state("r1") is None


def test_who_created_a_branch(store: ServiceStore) -> None:
    first, second = datetime(2026, 1, 1, 0, 0, 0, 123, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    store.own("feature", first, "ann")
    assert store.owned_by("ann") == {"feature": first}
    store.own("feature", second, "bob")
    assert store.owned_by("ann") == {}
    assert store.owned_by("bob") == {"feature": second}


def entry(number: int, user: str = "ann", time: datetime | None = None) -> AuditEntry:
    more = {} if time is None else {"time": time}
    return AuditEntry(
        verb="commit",
        outcome="granted",
        ref=f"b{number}",
        user=user,
        role="developer",
        token="t",
        run="r",
        request="q",
        **more,
    )


def test_audit_entries_come_back_newest_first(store: ServiceStore) -> None:
    entries = [entry(number, user="ann" if number % 2 else "bob") for number in range(6)]
    for one in entries:
        store.record(one)
    assert store.audit() == entries[::-1]
    assert store.audit(limit=2) == entries[:-3:-1]
    assert store.audit(user="ann") == entries[5::-2]
    assert store.audit(since=entries[4].time) == [entries[5], entries[4]]
    assert store.audit(user="eve") == []


def test_every_entry_is_there_when_its_writer_goes_on(store: ServiceStore, open_store: Open) -> None:
    """Writers that come at once share transactions; none may go on before its own entry can be read."""
    reader = open_store()
    missing: list[int] = []
    go = threading.Barrier(8)

    def write(worker: int) -> None:
        go.wait()
        for number in range(25):
            store.record(entry(worker * 100 + number, user=f"u{worker}"))
            if len(reader.audit(user=f"u{worker}")) != number + 1:
                missing.append(worker * 100 + number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert missing == []
    assert len(reader.audit()) == 200


def test_an_entry_that_cannot_be_kept_is_an_error_for_its_writer(store: ServiceStore) -> None:
    with store._database.write() as connection:
        connection.execute(sa.text("DROP TABLE lakehouse_service_audit"))
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(store.record, entry(number)) for number in range(8)]
    assert all(isinstance(future.exception(), CatalogError) for future in futures)


def test_old_entries_are_pruned_and_others_kept(store: ServiceStore) -> None:
    now = datetime.now(UTC)
    for days in (1, 10, 100):
        store.record(entry(days, time=now - timedelta(days=days)))
    store.prune(Retention(audit_days=50))
    assert [one.ref for one in store.audit()] == ["b1", "b10"]


CHILD = """
import sys
from dbt.adapters.lakehouse.service.audit import AuditEntry
from dbt.adapters.lakehouse.service.store import ServiceStore
store = ServiceStore.open(sys.argv[1])
for number in range(100_000):
    store.record(AuditEntry(verb="commit", outcome="granted", ref=str(number)))
    print(number, flush=True)
"""


@pytest.mark.kills
def test_a_killed_process_leaves_every_entry_that_it_was_told_is_kept(catalog_url: str, open_store: Open) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, catalog_url], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(50)]
    os.kill(child.pid, signal.SIGKILL)
    told += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    kept = {one.ref for one in open_store().audit()}
    assert {line.strip() for line in told if line.endswith("\n")} <= kept
