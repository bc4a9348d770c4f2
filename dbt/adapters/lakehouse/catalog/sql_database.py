"""Where a SQL catalog is kept: opening, creating, transactions, and what goes wrong with them in words.

SQLite runs in WAL mode, so that reads never wait for writes; a write begins with BEGIN IMMEDIATE and waits its turn for
up to ``PATIENCE`` seconds. ``synchronous=NORMAL`` may lose the last commits when the power fails, never more than that.
PostgreSQL runs READ COMMITTED, and a write locks the row of the ref it moves before it reads anything.
"""

from __future__ import annotations

import importlib.resources
import threading
import time
import zlib
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import sqlalchemy as sa
from sqlalchemy import exc

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.catalog import sql_locations
from dbt.adapters.lakehouse.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FORMAT = 4
"""Of the tables in ``schema.sql``. A catalog of an earlier format is brought up to it, one of a later format not opened."""

PATIENCE = 30
"""Seconds that a write waits for others."""

_WRITE = "lakehouse_write"
_CREATION_LOCK = 7_305_808_869  # any number: two processes creating the same PostgreSQL catalog agree on it
_TABLES = frozenset(
    [
        "lakehouse_meta",
        "lines",
        "commits",
        "contents",
        "entries",
        "refs",
        "moves",
        "locations",
        "runs",
        "results",
        "claims",
    ]
)


class Database:
    """An engine that knows how reads and writes begin. ``url`` has no password in it and is meant for messages.

    What is kept in it, a subclass may say otherwise: ``what`` for messages, ``meta`` and ``tables`` to recognise it,
    ``script`` (package and file) to create it, ``format`` of that script, ``made_by`` what creates it. ``upgrades`` are
    scripts by the format they start from, ``fills`` what must be computed after one of them.
    """

    what: ClassVar[str] = "catalog"
    meta: ClassVar[str] = "lakehouse_meta"
    tables: ClassVar[frozenset[str]] = _TABLES
    script: ClassVar[tuple[str, str]] = (__package__, "schema.sql")
    format: ClassVar[int] = FORMAT
    upgrades: ClassVar[Mapping[int, tuple[str, str]]] = {
        1: (__package__, "upgrade_1.sql"),
        2: (__package__, "upgrade_2.sql"),
        3: (__package__, "upgrade_3.sql"),
    }
    fills: ClassVar[Mapping[int, Callable[[sa.Connection], None]]] = {2: sql_locations.fill}
    made_by: ClassVar[str] = "the first `dbt run` on this lake creates it"

    def __init__(self, engine: sa.Engine) -> None:
        self.url = _shown(engine.url)
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._engine = engine
        # Of its own for each kind of database: two may share a server.
        self._write_lock = _CREATION_LOCK + 1 + zlib.crc32(self.meta.encode())
        self._turn = threading.Lock()

    @classmethod
    def open(cls, url: str, *, create: bool) -> tuple[Self, bool]:
        """The database behind a URL, and whether it still lacks its tables. Raises ``CatalogError``."""
        parsed = _parse(url)
        if parsed.get_backend_name() == "sqlite":
            _check_file(Path(parsed.database or ""), cls, create=create)
        database = cls(_engine(parsed))
        try:
            is_new = not database._has_tables()
            # Only now: a file that is somebody else's must stay as it is.
            if database.is_sqlite and create:
                database._use_wal()
            return database, is_new
        except BaseException:
            database.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that reads."""
        with self._in_words(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end, rolled back on an exception. ``alone``: while no other does."""
        # SQLite's own waiting is polling: threads of one process queue here instead, where they are woken.
        turn: AbstractContextManager[Any] = self._turn if self.is_sqlite else nullcontext()
        with self._in_words(), turn, self._engine.connect() as connection:
            connection.execution_options(**{_WRITE: True})
            with connection.begin():
                if not self.is_sqlite:  # where there is one writer at a time anyway
                    kind = "" if alone else "_shared"
                    connection.execute(sa.text(f"SELECT pg_advisory_xact_lock{kind}(:key)"), {"key": self._write_lock})
                yield connection

    def create_tables(self, connection: sa.Connection) -> bool:
        """Run ``schema.sql`` unless somebody else just did; whether it was run."""
        if not self.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
        if self.meta in self._table_names(connection):
            return False
        _run_script(connection, *self.script)
        connection.execute(sa.text(f"INSERT INTO {self.meta} VALUES ('format', :value)"), {"value": str(self.format)})
        self._say_release(connection)
        return True

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    def renew(self) -> None:
        """After a fork: forget connections and locks that belong to the parent process."""
        self._engine.dispose(close=False)
        self._turn = threading.Lock()

    def _has_tables(self) -> bool:
        """Whether this is what it should be. Raises ``CatalogError`` on another format and on somebody else's tables."""
        with self.read() as connection:
            names = self._table_names(connection)
            if self.meta not in names:
                # A PostgreSQL database may be shared; a file that holds other tables is somebody else's.
                foreign = names if self.is_sqlite else names & self.tables
                if foreign:
                    some = ", ".join(sorted(foreign)[:5])
                    raise CatalogError(
                        f"{self.url} is not a lakehouse {self.what}: it holds other tables ({some}); name another place"
                    )
                return False
            rows = connection.execute(sa.text(f"SELECT name, value FROM {self.meta}"))
            said: dict[str, str] = {row[0]: row[1] for row in rows}
        found = said.get("format")
        if found != str(self.format):
            found = self._upgrade()
        if found != str(self.format):
            release = said.get("release")
            raise CatalogError(
                f"{self.what} {self.url} has format {found}, this release of dbt-lakehouse, {version}, reads format "
                f"{self.format}; install dbt-lakehouse {release} or newer"
                if release
                else f"{self.what} {self.url} has format {found}, this release of dbt-lakehouse, {version}, reads format "
                f"{self.format}; install the release that made it, or a newer one"
            )
        return True

    def _upgrade(self) -> str:
        """Bring an earlier format up to this version's, unless somebody else just did; the format it has then."""
        with self.write(alone=True) as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
            query = sa.text(f"SELECT value FROM {self.meta} WHERE name = 'format'")
            found = str(connection.execute(query).scalar())
            while found.isdigit() and int(found) < self.format and int(found) in self.upgrades:
                _run_script(connection, *self.upgrades[int(found)])
                if int(found) in self.fills:
                    self.fills[int(found)](connection)
                found = str(int(found) + 1)
                connection.execute(
                    sa.text(f"UPDATE {self.meta} SET value = :value WHERE name = 'format'"), {"value": found}
                )
                self._say_release(connection)
            return found

    def _say_release(self, connection: sa.Connection) -> None:
        """Write down which release made the format, so that earlier ones can say what to install."""
        connection.execute(sa.text(f"DELETE FROM {self.meta} WHERE name = 'release'"))
        connection.execute(sa.text(f"INSERT INTO {self.meta} VALUES ('release', :value)"), {"value": version})

    @staticmethod
    def _table_names(connection: sa.Connection) -> frozenset[str]:
        return frozenset(sa.inspect(connection).get_table_names())

    def _use_wal(self) -> None:
        # The switch to WAL does not wait for other openers as everything else does, hence this loop.
        deadline = time.monotonic() + PATIENCE
        with self._in_words(), self._engine.connect() as connection:
            raw = connection.connection.cursor()
            while True:
                try:
                    if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                        raw.execute("PRAGMA journal_mode = WAL")
                    return
                except self._engine.dialect.loaded_dbapi.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise exc.OperationalError("PRAGMA journal_mode", None, error) from error
                    time.sleep(0.01)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except exc.TimeoutError as error:
            raise CatalogError(
                f"{self.what} {self.url}: no connection became free in {PATIENCE} seconds; use fewer threads"
            ) from error
        except exc.DBAPIError as error:
            raise CatalogError(self._explain(str(error.orig).strip())) from error

    def _explain(self, said: str) -> str:
        """What a database's message means, and what to do."""
        if "locked" in said:
            return f"{self.what} {self.url} was locked by another process for {PATIENCE} seconds; end that one, or try again"
        if "not a database" in said or "malformed" in said:
            return f"{self.url} is not a lakehouse {self.what}, or is damaged ({said}); restore it or name another file"
        if "readonly" in said or "unable to open" in said:
            return f"{self.what} {self.url} cannot be written ({said}); check the permissions of the file and of its folder"
        if "full" in said:
            return f"{self.what} {self.url} has no room to write ({said}); free some disk space"
        if self.is_sqlite:
            return f"{self.what} {self.url} failed: {said}"
        return f"{self.what} {self.url} cannot be used ({' '.join(said.split())}); check that its server runs and lets you in"


def _run_script(connection: sa.Connection, package: str, file: str) -> None:
    script = importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8")
    code = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    for statement in filter(str.strip, code.split(";")):
        connection.execute(sa.text(statement))


def _parse(url: str) -> sa.URL:
    if "://" not in url:
        url = f"sqlite:///{url}"
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError):
        raise CatalogError(f"catalog URL {url!r} cannot be read; {_URLS}") from None
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise CatalogError(f"catalog URL {_shown(parsed)!r} names {backend!r}, which is not supported; {_URLS}")
    if parsed.database in (None, "", ":memory:"):
        raise CatalogError(f"catalog URL {url!r} names no file; {_URLS}")
    return parsed


_URLS = "write sqlite:////path/to/catalog.db or postgresql://user@host/database"


def _shown(url: sa.URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    # SQLAlchemy hides the password before the host, but not one after the database.
    return url.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def _check_file(file: Path, kind: type[Database], *, create: bool) -> None:
    """What SQLite would only call "unable to open database file"."""
    try:
        file.stat()
    except PermissionError as error:
        raise CatalogError(
            f"{kind.what} {file} cannot be reached: {error.strerror}; check the permissions above it"
        ) from error
    except OSError:
        pass  # what is not there is told of below
    if file.is_dir():
        raise CatalogError(
            f"{kind.what} {file} is a folder, not a file; name a file in it, such as {file / 'catalog.db'}"
        )
    if not file.exists() and not create:
        raise CatalogError(f"there is no {kind.what} at {file}; {kind.made_by}")
    if not file.parent.is_dir():
        raise CatalogError(f"{kind.what} {file} cannot be created, there is no folder {file.parent}; create that first")


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        # No limit to the pool: a connection to a file is cheap, and a thread must never wait for one it holds itself.
        engine = sa.create_engine(url, connect_args={"timeout": PATIENCE}, pool_size=16, max_overflow=-1)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": "10"})
    try:
        return sa.create_engine(url, pool_size=8, max_overflow=24, pool_timeout=PATIENCE, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise CatalogError(
            f"catalog {_shown(url)} needs the package {error.name!r}; `pip install 'dbt-lakehouse[postgres]'`"
        ) from None


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # this module says BEGIN itself, see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -16384")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
