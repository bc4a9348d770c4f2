"""Opening a SQLite catalog, and what goes wrong with it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from dbt.adapters.lakehouse.catalog import sql_database
from dbt.adapters.lakehouse.catalog.model import RefKind
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import CatalogError


def refuse(url: object, *, match: str, create: bool = True) -> None:
    with pytest.raises(CatalogError, match=match) as caught:
        SqlCatalog.open(str(url), create=create)
    assert "sqlalchemy" not in str(caught.value).lower()
    assert "sqlalche.me" not in str(caught.value)


def test_a_path_is_as_good_as_a_url(tmp_path):
    with closing(SqlCatalog.open(str(tmp_path / "c.db"))) as one:
        with closing(SqlCatalog.open(f"sqlite:///{tmp_path / 'c.db'}", create=False)) as other:
            assert one.resolve("main") == other.resolve("main")
        assert one.url == str(tmp_path / "c.db")


def test_a_missing_catalog_is_only_created_when_asked_for(tmp_path):
    refuse(tmp_path / "c.db", create=False, match="no catalog at .*creates it")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    refuse(tmp_path / "empty.db", create=False, match="no catalog in .*creates it")


def test_places_where_no_catalog_can_be(tmp_path):
    (tmp_path / "text.db").write_text("not a database, but long enough to look at " * 50)
    refuse(tmp_path, match="is a folder, not a file; name a file in it")
    refuse(tmp_path / "no" / "c.db", match="there is no folder .*create that first")
    refuse(tmp_path / "text.db", match="is not a lakehouse catalog, or is damaged")
    refuse("sqlite://", match="names no file")
    refuse("mysql://host/db", match="'mysql', which is not supported")
    refuse("://", match="cannot be read")


def test_a_database_of_somebody_else_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as raw:
        raw.execute("CREATE TABLE customers (id INTEGER)")
    before = (tmp_path / "other.db").read_bytes()
    refuse(tmp_path / "other.db", match=r"holds other tables \(customers\)")
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_catalog_of_another_format_names_both(tmp_path):
    SqlCatalog.open(str(tmp_path / "c.db")).close()
    with closing(sqlite3.connect(tmp_path / "c.db")) as raw, raw:
        raw.execute("UPDATE lakehouse_meta SET value = '99' WHERE name = 'format'")
        raw.execute("DELETE FROM lakehouse_meta WHERE name = 'release'")
    refuse(tmp_path / "c.db", match=f"has format 99, .* reads format {sql_database.FORMAT}; install the release")


def test_damage_is_reported_in_words(tmp_path):
    file = tmp_path / "c.db"
    with closing(SqlCatalog.open(str(file))) as catalog:
        for number in range(50):
            catalog.create_ref(f"branch-{number}", RefKind.BRANCH, "main")
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(CatalogError, match="damaged"), closing(SqlCatalog.open(str(file))) as catalog:
        catalog.refs()


def test_a_lock_that_is_not_given_back_is_reported_and_reads_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sql_database, "PATIENCE", 0.2)
    with (
        closing(SqlCatalog.open(str(tmp_path / "c.db"))) as catalog,
        closing(sqlite3.connect(tmp_path / "c.db")) as raw,
    ):
        raw.isolation_level = None
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogError, match="locked by another process"):
            catalog.create_ref("dev", RefKind.BRANCH, "main")
        assert [ref.name for ref in catalog.refs()] == ["main"]
        raw.execute("ROLLBACK")
        catalog.create_ref("dev", RefKind.BRANCH, "main")


def test_reads_do_not_wait_for_a_write_of_the_same_process(tmp_path):
    with closing(SqlCatalog.open(str(tmp_path / "c.db"))) as catalog, catalog._database.write():
        names: list[str] = []
        reader = threading.Thread(target=lambda: names.extend(ref.name for ref in catalog.refs()))
        reader.start()
        reader.join(timeout=30)
        assert names == ["main"]


READ_ONLY = """
import sys
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import CatalogError
try:
    SqlCatalog.open(sys.argv[1])
except CatalogError as error:
    print(error)
"""


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    folder = tmp_path / "sealed"
    folder.mkdir()
    folder.chmod(0o555)
    # Root may write anywhere, so that a process of root's has to become somebody else for this; after its imports.
    become = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" if os.geteuid() == 0 else ""
    imports, rest = READ_ONLY.split("try:")
    if become:
        for parent in (tmp_path, *(p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-")))):
            parent.chmod(0o755)
    program = [sys.executable, "-c", f"{imports}import sqlite3, sqlalchemy.dialects.sqlite\n{become}try:{rest}"]
    done = subprocess.run([*program, str(folder / "c.db")], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert "check the permissions" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody whom the folder above keeps out")
def test_a_folder_that_keeps_us_out_is_reported(tmp_path):
    folder = tmp_path / "private"
    (folder / "lake").mkdir(parents=True)
    folder.chmod(0o700)
    for parent in (tmp_path, *(p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-")))):
        parent.chmod(0o755)
    imports, rest = READ_ONLY.split("try:")
    become = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    program = [sys.executable, "-c", f"{imports}import sqlite3, sqlalchemy.dialects.sqlite\n{become}try:{rest}"]
    done = subprocess.run([*program, str(folder / "lake" / "c.db")], capture_output=True, text=True, check=True)
    assert "cannot be reached" in done.stdout


def test_postgresql_that_does_not_answer_is_reported_without_the_password():
    pytest.importorskip("psycopg")
    with pytest.raises(CatalogError, match=r"cannot be used .*check that its server runs") as caught:
        SqlCatalog.open("postgresql://user:secret@127.0.0.1:1/lake")
    assert "secret" not in str(caught.value)


def test_values_and_pure_functions_load_no_database():
    modules = ["model", "refs", "graph", "merge", "taint", "base"]
    lines = [f"import dbt.adapters.lakehouse.catalog.{module}" for module in modules]
    program = "; ".join([*lines, "import sys", "print('sqlalchemy' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_password_after_the_database_is_not_shown_either():
    with pytest.raises(CatalogError) as caught:
        SqlCatalog.open("postgresql://127.0.0.1:1/lake?user=me&password=hunter2")
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1:1/lake" in str(caught.value)
