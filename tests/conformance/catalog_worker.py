"""A process that works on a catalog, for ``test_catalog_processes``: ``catalog_worker.py VERB URL NAME COUNT``."""

from __future__ import annotations

import multiprocessing
import sys

from dbt.adapters.lakehouse.catalog.model import ANY, Key, Put, RefKind, ViewEntry
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog


def put(name: str, version: int) -> Put:
    view = ViewEntry(schema="s", name=name, sql=f"select {version}", columns=())
    return Put(key=Key("s", name), entry=view, expected=ANY)


def commit_and_merge(catalog: SqlCatalog, name: str, count: int) -> None:
    """Commit to an own branch and to main, and merge, ``count`` times."""
    who = {"author": name, "message": name}
    catalog.create_ref(name, RefKind.BRANCH, "main")
    for version in range(1, count + 1):
        catalog.commit(name, [put(f"{name}-own", version)], **who)
        catalog.commit("main", [put(f"{name}-direct", version)], **who)
        assert catalog.merge(name, "main", **who).commit


def commit_until_killed(catalog: SqlCatalog, name: str, count: int) -> None:
    """Let two entries rise together, commit by commit, and say each commit's id once it is made."""
    for version in range(count):
        made = catalog.commit("main", [put("a", version), put("b", version)], author=name, message=str(version))
        print(made.id, flush=True)


def fork_and_commit(catalog: SqlCatalog, name: str, count: int) -> None:
    """Use one open catalog in the process that opened it and in processes forked from it."""
    catalog.resolve("main")
    workers = [
        multiprocessing.get_context("fork").Process(target=commit_and_merge, args=(catalog, f"{name}{n}", count))
        for n in range(2)
    ]
    for worker in workers:
        worker.start()
    commit_and_merge(catalog, f"{name}-parent", count)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]


def main() -> None:
    verb, url, name, count = sys.argv[1:]
    catalog = SqlCatalog.open(url)
    verbs = {"merge": commit_and_merge, "kill": commit_until_killed, "fork": fork_and_commit}
    verbs[verb](catalog, name, int(count))
    catalog.close()


if __name__ == "__main__":
    main()
