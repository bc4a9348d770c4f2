"""The service's catalog, verb by verb."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Commit,
    Entry,
    Key,
    MergeResult,
    Put,
    Ref,
    RefKind,
    ReusableResult,
    RunRecord,
    Settled,
)
from dbt.adapters.lakehouse.errors import BadRequest
from dbt.adapters.lakehouse.lake.remote.http import Http
from dbt.adapters.lakehouse.lake.remote.verbs import catalog_verbs


class RemoteCatalog:
    """See ``catalog.base.Catalog``. Each verb is one request; what writes carries a key, so that it happens once."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def _ask(self, verb_name: str, /, **arguments: Any) -> Any:
        verb = catalog_verbs()[verb_name]
        answer = self._http.ask(
            f"/v1/catalog/{verb.name}",
            verb.arguments,
            verb.arguments(**arguments),
            verb.answer,
            key=uuid.uuid4().hex if verb.writes else None,
        )
        return verb.unpack(answer)

    def resolve(self, ref: str) -> Commit:
        """See ``Catalog``."""
        commit: Commit = self._ask("resolve", ref=ref)
        return commit

    def refs(self, kind: RefKind | None = None) -> list[Ref]:
        """See ``Catalog``."""
        refs: list[Ref] = self._ask("refs", kind=kind)
        return refs

    def create_ref(self, name: str, kind: RefKind, at: str, *, run: str | None = None) -> Ref:
        """See ``Catalog``."""
        ref: Ref = self._ask("create_ref", name=name, kind=kind, at=at, run=run)
        return ref

    def assign(self, branch: str, to: str, *, expected: str, accept_tainted: bool = False) -> Ref:
        """See ``Catalog``."""
        ref: Ref = self._ask("assign", branch=branch, to=to, expected=expected, accept_tainted=accept_tainted)
        return ref

    def protect(self, branch: str, protected: bool) -> Ref:
        """See ``Catalog``."""
        ref: Ref = self._ask("protect", branch=branch, protected=protected)
        return ref

    def delete_ref(self, name: str, *, expected: str) -> None:
        """See ``Catalog``."""
        self._ask("delete_ref", name=name, expected=expected)

    def entries(self, commit: str, schema: str | None = None) -> dict[Key, Entry]:
        """See ``Catalog``."""
        entries: dict[Key, Entry] = self._ask("entries", commit=commit, schema=schema)
        return entries

    def lookup(self, commit: str, keys: Iterable[Key]) -> dict[Key, Entry]:
        """See ``Catalog``."""
        entries: dict[Key, Entry] = self._ask("lookup", commit=commit, keys=list(keys))
        return entries

    def log(self, commit: str, limit: int | None = None, *, first_parent: bool = True) -> list[Commit]:
        """See ``Catalog``."""
        commits: list[Commit] = self._ask("log", commit=commit, limit=limit, first_parent=first_parent)
        return commits

    def changes(self, commit: str) -> tuple[Change, ...]:
        """See ``Catalog``."""
        changes: tuple[Change, ...] = self._ask("changes", commit=commit)
        return changes

    def diff(self, old: str, new: str) -> tuple[Change, ...]:
        """See ``Catalog``."""
        changes: tuple[Change, ...] = self._ask("diff", old=old, new=new)
        return changes

    def contents(self, ids: Iterable[str]) -> dict[str, Entry]:
        """See ``Catalog``."""
        entries: dict[str, Entry] = self._ask("contents", ids=list(ids))
        return entries

    def last_change(self, commit: str, key: Key) -> Commit | None:
        """See ``Catalog``."""
        found: Commit | None = self._ask("last_change", commit=commit, key=key)
        return found

    def recall_node(self, node: str, limit: int | None = None) -> list[ReusableResult]:
        """See ``Catalog``."""
        results: list[ReusableResult] = self._ask("recall_node", node=node, limit=limit)
        return results

    def commit(
        self,
        branch: str,
        puts: Sequence[Put],
        *,
        author: str,
        message: str,
        expected_head: str | None = None,
        run: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Commit:
        """See ``Catalog``. The author is whom the token belongs to."""
        commit: Commit = self._ask(
            "commit",
            branch=branch,
            puts=list(puts),
            author=author,
            message=message,
            expected_head=expected_head,
            run=run,
            provenance=provenance,
        )
        return commit

    def merge(
        self,
        source: str,
        target: str,
        *,
        author: str,
        message: str,
        expected_target: str | None = None,
        expected_source: str | None = None,
        expected_changes: Sequence[Change] | None = None,
        run: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        accept_tainted: bool = False,
        fast_forward: bool = False,
        settled: Sequence[Settled] = (),
        reads: Mapping[Key, str | None] | None = None,
    ) -> MergeResult:
        """See ``Catalog``. The author is whom the token belongs to; what conflicts, and what was read, the service knows."""
        if settled or reads or expected_changes is not None:
            raise BadRequest(
                "a client does not settle conflicts itself; merge with `take`, and the service settles them"
            )
        result: MergeResult = self._ask(
            "merge",
            source=source,
            target=target,
            author=author,
            message=message,
            expected_target=expected_target,
            expected_source=expected_source,
            run=run,
            provenance=provenance,
            dry_run=dry_run,
            accept_tainted=accept_tainted,
            fast_forward=fast_forward,
        )
        return result

    def save_run(self, record: RunRecord) -> None:
        """See ``Catalog``."""
        self._ask("save_run", record=record)

    def run(self, run_id: str) -> RunRecord | None:
        """See ``Catalog``."""
        record: RunRecord | None = self._ask("run", run_id=run_id)
        return record

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """See ``Catalog``."""
        records: list[RunRecord] = self._ask("runs", limit=limit)
        return records

    def heartbeat(self, run_id: str) -> None:
        """See ``Catalog``."""
        self._ask("heartbeat", run_id=run_id)

    def close(self) -> None:
        """Nothing is held beyond the connections of ``Http``, which its owner closes."""
