"""A guarded catalog over a real one: nobody does, sees or learns more than their role says; all of it is audited."""

from __future__ import annotations

import fnmatch
import inspect
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    ANY,
    Commit,
    Key,
    Put,
    Ref,
    RefKind,
    ReusableResult,
    RunRecord,
    RunStatus,
    TableEntry,
    content_id,
    key_of,
)
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import (
    ConflictError,
    Denied,
    InvalidRef,
    LakehouseError,
    RefError,
    RefExists,
    RefNotFound,
    TaintedError,
)
from dbt.adapters.lakehouse.run.values import RunRequest
from dbt.adapters.lakehouse.service.access import GuardedCatalog
from dbt.adapters.lakehouse.service.audit import REQUEST_ID, AuditEntry
from dbt.adapters.lakehouse.service.policy import Capability, Policy, Principal, Role
from dbt.adapters.lakehouse.service.sight import Sight
from dbt.adapters.lakehouse.settings import PublishMode

NOBODY = Role(name="nobody", read=())
SHARED = Role(name="shared", read=("shared/*", "v-shared"), write=("shared/{user}",), merge=("shared/all",))
POLICY = Policy(roles={**Policy().roles, "nobody": NOBODY, "shared": SHARED})


@dataclass
class Log:
    """An audit log in memory."""

    entries: list[AuditEntry] = field(default_factory=list)

    def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    def said(self) -> list[tuple[str, str, str | None]]:
        return [(entry.verb, entry.outcome, entry.ref) for entry in self.entries]


@dataclass
class Creators:
    """Who created what, in memory."""

    known: dict[str, tuple[datetime, str]] = field(default_factory=dict)

    def own(self, branch: str, created_at: datetime, user: str) -> None:
        self.known[branch] = (created_at, user)

    def owned_by(self, user: str) -> dict[str, datetime]:
        return {branch: at for branch, (at, by) in self.known.items() if by == user}


def table(name: str, version: int = 1) -> TableEntry:
    return TableEntry(
        schema="s",
        name=name,
        metadata_location=f"file:///lake/{name}/v{version}.metadata.json",
        table_uuid=name,
        snapshot_id=version,
        location=f"file:///lake/{name}",
        columns=(),
        rows=version,
        size_bytes=1,
    )


def put(name: str, version: int = 1) -> Put:
    entry = table(name, version)
    return Put(key=key_of(entry), entry=entry, expected=ANY)


def a_run(name: str, user: str, target: str, **more: Any) -> RunRecord:
    now = datetime.now(UTC)
    given: dict[str, Any] = {"status": RunStatus.OPEN, **more}
    return RunRecord(
        id=name,
        branch=f"run/{name}",
        target=target,
        base="0" * 40,
        command="dbt build",
        owner=f"service:{user}",
        started_at=now,
        heartbeat_at=now,
        **given,
    )


def fill(catalog: Catalog) -> None:
    """Branches of several people, a protected one, tags, and a run of each person."""
    by = {"author": "setup", "message": "setup"}
    catalog.commit("main", [put("orders")], **by)
    for branch in ("prod", "secret", "shared/all", "shared/ann", "dev/ann", "dev/bob", "bob/x", "feed"):
        catalog.create_ref(branch, RefKind.BRANCH, "main")
        catalog.commit(branch, [put(branch.replace("/", "_"))], **by)
    catalog.protect("prod", True)
    catalog.create_ref("v1", RefKind.TAG, "main")
    catalog.create_ref("v-shared", RefKind.TAG, "shared/all")
    for name, user, target in (
        ("ann-1", "ann", "dev/ann"),
        ("bob-1", "bob", "dev/bob"),
        ("bob-2", "bob", "secret"),
        ("bob-3", "bob", "shared/all"),
    ):
        catalog.save_run(a_run(name, user, target))
        catalog.create_ref(f"run/{name}", RefKind.BRANCH, target, run=name)
        catalog.commit(f"run/{name}", [put(f"by_{name}")], run=name, **by)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("template") / "catalog.sqlite"
    catalog = SqlCatalog.open(str(file))
    fill(catalog)
    catalog.close()
    return file


@pytest.fixture
def catalog(template: Path, tmp_path: Path) -> Iterator[SqlCatalog]:
    shutil.copy(template, tmp_path / "catalog.sqlite")
    opened = SqlCatalog.open(str(tmp_path / "catalog.sqlite"))
    yield opened
    opened.close()


@pytest.fixture
def log() -> Log:
    return Log()


Guard = Callable[..., GuardedCatalog]


@pytest.fixture
def guard(catalog: SqlCatalog, log: Log) -> Guard:
    creators, sights = Creators(), dict[str, Sight]()

    def guarded(role: str, user: str = "ann", policy: Policy = POLICY) -> GuardedCatalog:
        principal = Principal(user=user, role=role, token="t1")
        sight = sights.setdefault(user + role, Sight())
        return GuardedCatalog(catalog, principal, policy, log, owners=creators, sight=sight)

    return guarded


def head(catalog: Catalog, name: str) -> str:
    return catalog.resolve(name).id


BY = {"author": "somebody else", "message": "m"}

# Every verb of the protocol, as somebody would call it who may do nothing. A new verb must be added here, with its rule.
VERBS: dict[str, Callable[[Catalog, dict[str, str]], Any]] = {
    "resolve": lambda c, ids: c.resolve("main"),
    "refs": lambda c, ids: c.refs(),
    "create_ref": lambda c, ids: c.create_ref("dev/ann/new", RefKind.BRANCH, "main"),
    "assign": lambda c, ids: c.assign("dev/ann", "main", expected=ids["dev/ann"]),
    "protect": lambda c, ids: c.protect("dev/ann", True),
    "delete_ref": lambda c, ids: c.delete_ref("dev/ann", expected=ids["dev/ann"]),
    "entries": lambda c, ids: c.entries(ids["main"]),
    "lookup": lambda c, ids: c.lookup(ids["main"], [Key("s", "orders")]),
    "log": lambda c, ids: c.log(ids["main"]),
    "changes": lambda c, ids: c.changes(ids["main"]),
    "diff": lambda c, ids: c.diff(ids["main"], ids["dev/ann"]),
    "contents": lambda c, ids: c.contents([content_id(table("orders"))]),
    "last_change": lambda c, ids: c.last_change(ids["main"], Key("s", "orders")),
    "recall_node": lambda c, ids: c.recall_node("model.orders"),
    "commit": lambda c, ids: c.commit("dev/ann", [put("new")], **BY),
    "merge": lambda c, ids: c.merge("main", "dev/ann", **BY),
    "save_run": lambda c, ids: c.save_run(a_run("new-run", "ann", "dev/ann")),
    "run": lambda c, ids: c.run("bob-1"),
    "runs": lambda c, ids: c.runs(),
    "heartbeat": lambda c, ids: c.heartbeat("bob-1"),
}
WRITES = {"create_ref", "assign", "protect", "delete_ref", "commit", "merge", "save_run", "heartbeat"}


def verbs_of_the_protocol() -> list[str]:
    return [name for name, _ in inspect.getmembers(Catalog, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("verb", verbs_of_the_protocol())
def test_every_verb_of_the_protocol_has_a_rule(verb: str, catalog: SqlCatalog, guard: Guard) -> None:
    if verb == "close":
        guard("nobody").close()
        assert catalog.refs()  # it is others' too
        return
    assert verb in VERBS, f"Catalog.{verb} is new: GuardedCatalog needs a rule for it, and this table a call"
    # It is there, with the same arguments, and is its own (not inherited, not passed on by __getattr__).
    own = GuardedCatalog.__dict__[verb]
    assert list(inspect.signature(own).parameters) == list(inspect.signature(getattr(Catalog, verb)).parameters)
    ids = {ref.name: ref.commit for ref in catalog.refs()}
    before = state(catalog)
    for role in ("nobody", "reader") if verb in WRITES else ("nobody",):
        try:
            gave = VERBS[verb](guard(role, "eve"), ids)
        except (Denied, RefNotFound):
            continue
        assert not gave, f"{role} got {gave!r}"
        assert verb not in WRITES
    assert state(catalog) == before


def state(catalog: Catalog) -> dict[str, tuple[str, bool, RefKind]]:
    return {ref.name: (ref.commit, ref.protected, ref.kind) for ref in catalog.refs()}


# A model of what roles may do, written apart from the policy

USERS = ("ann", "bob")
PIECES = [
    "*",
    "dev/*",
    "dev/{user}",
    "{user}/*",
    "shared/*",
    "shared/all",
    "prod",
    "main",
    "secret",
    "v?",
    "feed",
    "new/*",
]
some_patterns = st.lists(st.sampled_from(PIECES), max_size=3, unique=True).map(tuple)
roles = st.builds(
    Role,
    name=st.just("r"),
    read=some_patterns,
    write=some_patterns,
    create=some_patterns,
    merge=some_patterns,
    protected=st.booleans(),
    may=st.sets(st.sampled_from(list(Capability))).map(frozenset),
)
TARGETS = [
    "main",
    "prod",
    "secret",
    "shared/all",
    "dev/ann",
    "dev/bob",
    "bob/x",
    "feed",
    "v1",
    "run/ann-1",
    "run/bob-2",
]
NEW = ["new/1", "dev/ann/2", "bob/3", "v9"]
steps = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(NEW), st.sampled_from(TARGETS)),
    st.tuples(st.just("tag"), st.sampled_from(["v9", "t1"]), st.sampled_from(TARGETS)),
    st.tuples(st.just("commit"), st.sampled_from(TARGETS + NEW), st.just("")),
    st.tuples(st.just("delete"), st.sampled_from(TARGETS + NEW), st.just("")),
    st.tuples(st.just("assign"), st.sampled_from(TARGETS + NEW), st.sampled_from(TARGETS)),
    st.tuples(st.just("merge"), st.sampled_from(TARGETS + NEW), st.sampled_from(TARGETS)),
    st.tuples(st.just("protect"), st.sampled_from(TARGETS + NEW), st.just("")),
    st.tuples(st.just("unprotect"), st.sampled_from(["prod"]), st.just("")),
)


def do(catalog: Catalog, bare: Catalog, step: tuple[str, str, str]) -> None:
    verb, name, other = step
    heads = {ref.name: ref.commit for ref in bare.refs()}
    at = heads.get(name, "0" * 40)
    match verb:
        case "create":
            catalog.create_ref(name, RefKind.BRANCH, other)
        case "tag":
            catalog.create_ref(name, RefKind.TAG, other)
        case "commit":
            catalog.commit(name, [put(f"t{len(heads)}")], **BY)
        case "delete":
            catalog.delete_ref(name, expected=at)
        case "assign":
            catalog.assign(name, other, expected=at, accept_tainted=True)
        case "merge":
            catalog.merge(other, name, accept_tainted=True, **BY)
        case "protect" | "unprotect":
            catalog.protect(name, verb == "protect")


class Model:
    """What a role comes to for a user, worked out the plain way."""

    def __init__(self, role: Role, user: str) -> None:
        self.role, self.user = role, user
        self.created: set[str] = set()
        self.runs = {"run/ann-1": ("ann", "dev/ann"), "run/bob-1": ("bob", "dev/bob")}
        self.runs |= {"run/bob-2": ("bob", "secret"), "run/bob-3": ("bob", "shared/all")}

    def covers(self, patterns: tuple[str, ...], name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern.replace("{user}", self.user)) for pattern in patterns)

    def reads(self, name: str) -> bool:
        if name in self.runs:
            owner, target = self.runs[name]
            return owner == self.user or self.covers(self.role.read, target)
        return "*" in self.role.read or self.covers(self.role.read, name) or name in self.created

    def changes(self, name: str, protected: bool, *, merging: bool) -> bool:
        if not self.reads(name):
            return False
        if name in self.runs:
            return self.runs[name][0] == self.user
        if (protected or name == "main") and not self.role.protected:
            return False
        patterns = self.role.write + (self.role.merge if merging else ())
        return self.covers(patterns, name) or name in self.created

    def allows(self, step: tuple[str, str, str], refs: dict[str, tuple[str, bool, RefKind]]) -> bool:
        """Whether the role allows it; the catalog may refuse it all the same."""
        verb, name, other = step
        protected = name in refs and refs[name][1]
        is_tag = name in refs and refs[name][2] is RefKind.TAG
        match verb:
            case "create":
                return self.covers(self.role.write + self.role.create, name) and self.reads(other)
            case "tag":
                return Capability.TAGS in self.role.may and self.reads(other)
            case "delete" if is_tag:
                return Capability.TAGS in self.role.may and self.reads(name)
            case "delete" if name in self.runs and Capability.JOBS in self.role.may:
                return self.reads(name)
            case "commit" | "delete":
                return self.changes(name, protected, merging=False)
            case "assign":
                return self.changes(name, protected, merging=False) and self.reads(other)
            case "merge":
                return self.changes(name, protected, merging=True) and self.reads(other)
        return Capability.PROTECT in self.role.may and self.reads(name)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(role=roles, user=st.sampled_from(USERS), script=st.lists(steps, min_size=1, max_size=6))
def test_nobody_does_more_or_less_than_their_role_says(
    template: Path, tmp_path: Path, role: Role, user: str, script: list[tuple[str, str, str]]
) -> None:
    shutil.copy(template, tmp_path / "model.sqlite")
    for left in ("model.sqlite-wal", "model.sqlite-shm"):
        (tmp_path / left).unlink(missing_ok=True)
    bare = SqlCatalog.open(str(tmp_path / "model.sqlite"))
    log, model = Log(), Model(role, user)
    principal = Principal(user=user, role="r", token="t")
    guarded = GuardedCatalog(bare, principal, Policy(roles={"r": role}), log, owners=Creators())
    try:
        for step in script:
            before, seen = state(bare), len(log.entries)
            allowed = model.allows(step, before) and (step[0] in ("create", "tag") or step[1] in before)
            try:
                do(guarded, bare, step)
                outcome = "done"
            except (Denied, RefNotFound):
                outcome = "denied"
            except LakehouseError:
                outcome = "failed"  # by the catalog: the role allowed it
            after = state(bare)
            entries = log.entries[seen:]
            if outcome == "done":
                assert allowed, (step, role)
                assert [(entry.outcome, entry.ref, entry.user) for entry in entries] == [("granted", step[1], user)]
            else:
                assert after == before
                assert entries[-1].outcome == outcome
                if outcome == "denied":
                    # Who may read nothing of the source is told that it is not there, and so is who names what is not.
                    assert not allowed or (step[2] and step[2] not in before), (step, role, entries)
            assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {step[1]}
            model.created -= before.keys() - after.keys()
            if outcome == "done" and step[0] == "create":
                model.created.add(step[1])
            assert {ref.name for ref in guarded.refs()} == {name for name in after if model.reads(name)}
    finally:
        bare.close()


# What the catalog is told and what it tells


def test_commits_are_signed_with_the_users_name(catalog: SqlCatalog, guard: Guard) -> None:
    made = guard("developer").commit("dev/ann", [put("t")], author="the boss", message="m")
    assert made.author == "ann"
    assert catalog.resolve("dev/ann").author == "ann"


def test_a_refusal_names_user_role_and_branch_and_what_to_do(guard: Guard) -> None:
    with pytest.raises(Denied) as caught:
        guard("developer").merge("dev/ann", "main", **BY)
    assert str(caught.value) == (
        "user 'ann' has role 'developer' and may not merge into branch 'main'; work on a branch of your own "
        "(`branch: dev/ann` in the profile), or ask for role 'publisher'"
    )
    with pytest.raises(Denied, match=r"user 'ann' has role 'reader' and may not .* ask who runs the service"):
        guard("reader").commit("dev/ann", [put("t")], **BY)


def test_publishers_merge_into_what_is_protected_and_cannot_commit_there(catalog: SqlCatalog, guard: Guard) -> None:
    publisher = guard("publisher")
    assert publisher.merge("dev/bob", "prod", **BY).commit is not None
    with pytest.raises(RefError, match="protected"):
        publisher.commit("prod", [put("t")], **BY)
    with pytest.raises(Denied):
        publisher.protect("prod", False)
    assert guard("admin").protect("prod", False).protected is False


def test_who_created_a_branch_may_write_it_until_it_is_made_anew(catalog: SqlCatalog, guard: Guard) -> None:
    policy = Policy(roles={"r": Role(name="r", read=("main",), create=("feature/*",))})
    ann, bob = guard("r", "ann", policy), guard("r", "bob", policy)
    ann.create_ref("feature/x", RefKind.BRANCH, "main")
    ann.commit("feature/x", [put("t")], **BY)
    with pytest.raises(RefNotFound):
        bob.commit("feature/x", [put("t")], **BY)
    catalog.delete_ref("feature/x", expected=head(catalog, "feature/x"))
    catalog.create_ref("feature/x", RefKind.BRANCH, "main")
    with pytest.raises(RefNotFound):
        ann.commit("feature/x", [put("t")], **BY)


# Runs


def test_a_run_belongs_to_its_user_whatever_its_record_says(catalog: SqlCatalog, guard: Guard) -> None:
    ann = guard("developer")
    ann.save_run(a_run("new", "bob", "dev/ann"))
    saved = catalog.run("new")
    assert saved is not None
    assert saved.owner == "service:ann"
    ann.create_ref("run/new", RefKind.BRANCH, "dev/ann", run="new")
    ann.commit("run/new", [put("t")], run="new", **BY)
    assert ann.merge("run/new", "dev/ann", run="new", **BY).commit is not None


@pytest.mark.parametrize(
    "attempt",
    [
        lambda c: c.save_run(a_run("bob-1", "ann", "dev/bob", status=RunStatus.PASSED)),
        lambda c: c.heartbeat("bob-1"),
        lambda c: c.commit("run/bob-1", [put("t")], run="bob-1", **BY),
        lambda c: c.commit("run/bob-1", [put("t")], **BY),
        lambda c: c.commit("run/ann-1", [put("t")], run="bob-1", **BY),
        lambda c: c.merge("run/bob-1", "dev/ann", run="bob-1", **BY),
        lambda c: c.merge("dev/ann", "run/bob-1", **BY),
        lambda c: c.create_ref("run/bob-9", RefKind.BRANCH, "main", run="bob-9"),
        lambda c: c.create_ref("dev/ann/y", RefKind.BRANCH, "main", run="ann-1"),
        lambda c: c.save_run(a_run("ann-1", "ann", "main")),
        lambda c: c.save_run(a_run("ann-1", "ann", "dev/ann", status=RunStatus.PUBLISHED)),
        lambda c: c.save_run(a_run("ann-9", "ann", "dev/ann", continues="bob-2")),
        lambda c: c.save_run(RunRecord(**{**vars(a_run("ann-9", "ann", "dev/ann")), "branch": "main"})),
    ],
)
def test_the_runs_of_others_are_theirs(
    catalog: SqlCatalog, guard: Guard, log: Log, attempt: Callable[[Catalog], Any]
) -> None:
    before, runs = state(catalog), catalog.runs()
    with pytest.raises(Denied):
        attempt(guard("developer"))
    assert state(catalog) == before
    assert catalog.runs() == runs
    assert log.entries[-1].outcome == "denied"


def test_a_run_that_continues_anothers_failed_run_does_not_clean_it_elsewhere(
    catalog: SqlCatalog, guard: Guard
) -> None:
    catalog.save_run(a_run("bob-2", "bob", "secret", status=RunStatus.FAILED))
    with pytest.raises(TaintedError):
        guard("publisher").merge("run/bob-2", "main", **BY)
    with pytest.raises(Denied, match="continue run 'bob-2'"):
        guard("developer").save_run(a_run("ann-2", "ann", "dev/ann", continues="bob-2"))


def test_a_reader_opens_no_run(guard: Guard) -> None:
    with pytest.raises(Denied, match="role 'reader' and may not run what writes"):
        guard("reader").save_run(a_run("r", "ann", "main"))


def request(branch: str, command: str = "dbt build", **more: Any) -> RunRequest:
    return RunRequest(id="r1", command=command, branch=branch, **more)


@pytest.mark.parametrize(
    ("role", "wish", "message"),
    [
        ("developer", request("main"), "may not publish to branch 'main'; work on a branch of your own"),
        ("developer", request("dev/bob"), "may not publish to branch 'dev/bob'"),
        ("developer", request("main", publish=PublishMode.EACH_NODE), "may not write branch 'main', where"),
        ("developer", request("new"), "may not create branch 'new'"),
        ("reader", request("main", publish=PublishMode.MANUAL), "may not run what writes to branch 'main'"),
        ("reader", request("main", command="dbt retry"), "may not run what writes"),
        ("shared", request("secret"), "no branch, tag or commit 'secret'"),
        ("shared", request("shared/ann", from_branch="main"), None),
        ("shared", request("shared/new", from_branch="main"), "no branch, tag or commit 'main'"),
        ("shared", request("shared/new", from_branch="shared/all"), "may not create branch 'shared/new'"),
        ("developer", request("dev/ann"), None),
        ("developer", request("dev/ann/new"), None),
        ("developer", request("main", publish=PublishMode.MANUAL), None),
        ("developer", request("main", command="dbt show"), None),
        ("reader", request("main", command="dbt test"), None),
        ("publisher", request("main"), None),
        ("publisher", request("prod"), None),
    ],
)
def test_a_run_that_could_not_publish_is_refused_when_it_opens(
    guard: Guard, log: Log, role: str, wish: RunRequest, message: str | None
) -> None:
    if message is None:
        guard(role).check_run(wish)
        assert log.entries == []
        return
    with pytest.raises((Denied, RefNotFound), match=message):
        guard(role).check_run(wish)
    assert [(entry.verb, entry.outcome, entry.run) for entry in log.entries] == [("open_run", "denied", "r1")]


# What a role that reads little may learn


def secrets_of(catalog: SqlCatalog) -> dict[str, str]:
    commit = catalog.resolve("secret")
    return {
        "commit": commit.id,
        "prefix": commit.id[:10],
        "content": content_id(table("secret")),
        "run": "bob-2",
    }


@pytest.mark.parametrize(
    "text", ["secret", "secret~1", "secret@2030-01-01", "SECRET", "{commit}", "{prefix}", "{commit}~1", "run/bob-2"]
)
def test_what_may_not_be_read_is_not_found_as_if_it_did_not_exist(catalog: SqlCatalog, guard: Guard, text: str) -> None:
    there = text.format(**secrets_of(catalog))
    nowhere = (
        text.format(commit="f" * 40, prefix="f" * 10).replace("secret", "nowhere").replace("run/bob-2", "run/bob-7")
    )
    with pytest.raises(RefNotFound) as real:
        guard("shared").resolve(there)
    with pytest.raises(RefNotFound) as imagined:
        guard("shared").resolve(nowhere)
    # Up to the ";" it says what was asked for, after it what there is instead.
    for error in (real, imagined):
        hint = str(error.value).partition(";")[2]
        assert hint
        assert not any(name in hint for name in ("secret", "bob-2", "dev/ann", "prod"))


def test_nothing_in_a_secret_state_is_given_out(catalog: SqlCatalog, guard: Guard) -> None:
    known, shared = secrets_of(catalog), guard("shared")
    own = head(catalog, "shared/all")
    for read in (
        lambda: shared.entries(known["commit"]),
        lambda: shared.lookup(known["commit"], [Key("s", "secret")]),
        lambda: shared.log(known["commit"]),
        lambda: shared.changes(known["commit"]),
        lambda: shared.last_change(known["commit"], Key("s", "secret")),
        lambda: shared.diff(own, known["commit"]),
        lambda: shared.diff(known["commit"], own),
        lambda: shared.merge("secret", "shared/ann", **BY),
        lambda: shared.merge(known["commit"], "shared/ann", **BY),
        lambda: shared.merge("secret", "shared/ann", dry_run=True, **BY),
        lambda: shared.merge("shared/ann", "secret", dry_run=True, **BY),
        lambda: shared.assign("shared/ann", "secret", expected=head(catalog, "shared/ann")),
        lambda: shared.delete_ref("secret", expected=known["commit"]),
        lambda: shared.protect("secret", True),
    ):
        with pytest.raises(RefNotFound):
            read()
    assert shared.contents([known["content"]]) == {}
    assert shared.run("bob-2") is None
    assert {run.id for run in shared.runs()} == {"ann-1", "bob-3"}
    assert {ref.name for ref in shared.refs()} == {"shared/all", "shared/ann", "v-shared", "run/ann-1", "run/bob-3"}


def test_results_are_shown_to_those_who_see_the_run_that_made_them(catalog: SqlCatalog, guard: Guard) -> None:
    for number, (run, author) in enumerate([("bob-2", "bob"), ("ann-1", "ann"), ("bob-3", "bob"), ("gone", "ann")]):
        catalog.remember(
            ReusableResult(
                fingerprint=f"f{number}",
                parts={"code": "x"},
                node="model.orders",
                entry=table("orders"),
                run=run,
                author=author,
                made_at=datetime(2026, 1, 1 + number, tzinfo=UTC),
                seconds=1.0,
            )
        )

    def made_by(role: str, user: str, limit: int | None = None) -> list[str | None]:
        return [result.run for result in guard(role, user).recall_node("model.orders", limit)]

    assert made_by("admin", "eve") == ["gone", "bob-3", "ann-1", "bob-2"]
    assert made_by("shared", "ann") == ["gone", "bob-3", "ann-1"]
    assert made_by("shared", "ann", 1) == ["gone"]
    assert made_by("shared", "bob") == ["bob-3", "bob-2"]
    assert made_by("nobody", "eve") == []


def test_a_change_that_was_told_of_can_be_read(catalog: SqlCatalog, guard: Guard) -> None:
    shared = guard("shared")
    found = shared.last_change(shared.resolve("shared/all").id, Key("s", "orders"))
    assert found is not None
    assert shared.entries(found.id).keys() == {Key("s", "orders")}


def test_a_name_that_reads_as_a_commit_id_does_not_open_commits(catalog: SqlCatalog, guard: Guard) -> None:
    """A pattern may cover names that look like ids; ids of commits are no names."""
    commit = head(catalog, "secret")
    policy = Policy(roles={"r": Role(name="r", read=(f"{commit[:6]}*", "feed"))})
    reader = guard("r", policy=policy)
    assert reader.resolve("feed").id == head(catalog, "feed")
    with pytest.raises(RefNotFound):
        reader.resolve(commit)
    with pytest.raises(RefNotFound):
        reader.resolve(commit[:8])


def test_what_a_readable_name_leads_to_can_be_read(catalog: SqlCatalog, guard: Guard) -> None:
    shared = guard("shared")
    newest = shared.resolve("shared/all")
    assert shared.resolve("shared/all~1").id == head(catalog, "main")
    assert shared.resolve(newest.id[:12]) == newest
    assert shared.entries(newest.parents[0]).keys() == {Key("s", "orders")}
    changed = shared.changes(newest.id)
    after = [change.after for change in changed if change.after is not None]
    assert set(shared.contents(after)) == set(after)
    assert shared.run("bob-3") is not None
    assert shared.run("bob-3x") is None


def test_a_branch_that_moves_away_takes_its_commits_along(catalog: SqlCatalog, guard: Guard) -> None:
    sight = Sight()
    principal = Principal(user="eve", role="shared", token="t")

    def fresh() -> GuardedCatalog:
        return GuardedCatalog(catalog, principal, POLICY, Log(), sight=sight)

    old = catalog.commit("shared/all", [put("mistake")], **BY)
    assert Key("s", "mistake") in fresh().entries(old.id)
    newer = catalog.commit("shared/all", [put("more")], **BY)
    assert fresh().entries(newer.id)
    catalog.assign("shared/all", "shared/all~2", expected=newer.id)
    with pytest.raises(RefNotFound):
        fresh().entries(old.id)
    assert fresh().entries(head(catalog, "shared/all"))


def test_a_run_reads_its_state_to_its_end_though_the_branch_was_moved(catalog: SqlCatalog, guard: Guard) -> None:
    shared = guard("shared")
    pinned = shared.resolve("shared/all")
    catalog.assign("shared/all", "main", expected=pinned.id)
    assert Key("s", "shared_all") in shared.entries(pinned.id)


def test_reach_is_extended_over_merges(catalog: SqlCatalog, guard: Guard) -> None:
    shared = guard("shared", "eve")
    commits: list[Commit] = []
    for number in range(3):
        commits.append(catalog.commit("dev/bob", [put("b", number)], **BY))
        merged = catalog.merge("dev/bob", "shared/all", **BY)
        assert merged.commit is not None
        # Published history is readable history, by second parents too.
        assert shared.entries(commits[-1].id)
    with pytest.raises(RefNotFound):
        shared.entries(head(catalog, "secret"))


def test_a_run_whose_branch_is_gone_suggests_no_others(catalog: SqlCatalog, guard: Guard) -> None:
    ann = guard("shared")
    ann.save_run(a_run("bob-22", "ann", "shared/ann"))
    with pytest.raises(RefNotFound) as caught:
        ann.commit("run/bob-22", [put("t")], run="bob-22", **BY)
    assert "run/bob-2'" not in str(caught.value)


# Audit


def test_every_write_is_audited_before_it_happens_and_failures_after(
    catalog: SqlCatalog, guard: Guard, log: Log
) -> None:
    ann = guard("developer")
    token = REQUEST_ID.set("req-7")
    try:
        ann.create_ref("dev/ann/x", RefKind.BRANCH, "main")
        ann.commit("dev/ann/x", [put("t")], **BY)
        with pytest.raises(RefExists):
            ann.create_ref("dev/ann/x", RefKind.BRANCH, "main")
        with pytest.raises(ConflictError):
            ann.delete_ref("dev/ann/x", expected="0" * 40)
        with pytest.raises(InvalidRef):
            ann.merge("main", "v1", **BY)
    except Denied:
        pass
    finally:
        REQUEST_ID.reset(token)
    assert log.said() == [
        ("create", "granted", "dev/ann/x"),
        ("commit", "granted", "dev/ann/x"),
        ("create", "granted", "dev/ann/x"),
        ("create", "failed", "dev/ann/x"),
        ("delete", "granted", "dev/ann/x"),
        ("delete", "failed", "dev/ann/x"),
        ("merge", "denied", "v1"),
    ]
    assert {(entry.user, entry.role, entry.token, entry.request) for entry in log.entries} == {
        ("ann", "developer", "t1", "req-7")
    }


def test_what_cannot_be_audited_does_not_happen(catalog: SqlCatalog) -> None:
    class Full:
        def record(self, entry: AuditEntry) -> None:
            raise OSError("no space left")

    principal = Principal(user="ann", role="developer", token="t")
    before = state(catalog)
    with pytest.raises(OSError, match="no space"):
        GuardedCatalog(catalog, principal, POLICY, Full()).commit("dev/ann", [put("t")], **BY)
    assert state(catalog) == before


def test_reading_is_not_audited(guard: Guard, log: Log) -> None:
    ann = guard("developer")
    ann.entries(ann.resolve("main").id)
    ann.merge("dev/ann", "main", dry_run=True, **BY)
    assert log.entries == []


def test_a_ref_that_somebody_reads_by_pattern_includes_runs_that_target_it(catalog: SqlCatalog, guard: Guard) -> None:
    names = {ref.name for ref in guard("shared", "eve").refs() if isinstance(ref, Ref)}
    assert "run/bob-3" in names
    assert "run/bob-2" not in names
