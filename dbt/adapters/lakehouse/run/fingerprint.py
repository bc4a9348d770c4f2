"""All that shapes a node's table, as named parts, and whether that is all there is to it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb

from dbt.adapters.lakehouse.catalog.model import Entry, FunctionEntry, Key, TableEntry, ViewEntry, identity
from dbt.adapters.lakehouse.jobs import plugins
from dbt.adapters.lakehouse.jobs.secrets import is_secret
from dbt.adapters.lakehouse.run import attached, attached_views, calls, files, functions, python_parts
from dbt.adapters.lakehouse.run.calls import Called, Functions, Macro, Nature
from dbt.adapters.lakehouse.run.files import Declared
from dbt.adapters.lakehouse.run.normal import Normal, normal
from dbt.adapters.lakehouse.run.statements import Reference, parser, reads
from dbt.adapters.lakehouse.run.values import Build, Name

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession

WRITER = 1
"""Raise this when the same query would be written as another table than before."""

_LONG = 200
_TELL_TIMES = ("read_text", "read_blob")
_FILES = re.compile(r"read_\w+|parquet_(scan|metadata|schema|file_metadata|kv_metadata)|st_read|sniff_csv|glob")
_LONG_CONFIGURATION = 2000
_HIDING = ("query", "query_table")


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """``parts`` by name: short values as they are, long ones as ``sha256:…``. ``obstacles`` say why the table is not a
    function of them; empty if it is. ``steady``: they only tell whether it stays what it was; a new one depends on the time.
    """

    parts: Mapping[str, str]
    obstacles: tuple[str, ...] = ()
    steady: bool = False

    @property
    def id(self) -> str:
        """SHA-256 of the parts, 64 hex digits."""
        return hashed(dict(self.parts))


def hashed(value: Any) -> str:
    """SHA-256 of a value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def of_build(session: RunSession, build: Build, table: TableEntry | None) -> Fingerprint:
    """The fingerprint of a build; ``table`` is what stands at its name, which all modes but ``create`` start from."""
    work = _Work(session, build.reuse, build.setup, build.source)
    work.declare(session, build)
    if build.deciding and build.reuse == "auto":
        _decide(work, session, build)
    work.parts.update(_configuration(build))
    work.parts["engine"] = _engine(session)
    if build.file is not None:
        work.put("code", build.file.how)
        work.parts["file"] = build.file.digest
    elif build.arrow is not None:
        work.obstacles.append("its rows come from the caller")
    elif build.sql is not None:
        work.put("code", work.read(build.sql).text)
    if build.python is not None:
        _python(work, session, build)
    if build.statements:
        work.put("statements", [work.read(statement).text for statement in build.statements])
    if build.matching is not None:
        work.put("matching", work.read(f"SELECT {build.matching}").text)
    if build.setup:
        work.put("setup", [work.read(statement).text for statement in build.setup])
    _promises(work, build)
    if build.mode != "create":
        work.parts.update(_start(table))
    if session.keeps_state or session.prepared_others(build.setup):
        work.obstacles.append("settings of its session were changed by hand, in a hook or macro")
    return work.fingerprint()


def _promises(work: _Work, build: Build) -> None:
    """What else the rows were held against: relations that foreign keys name."""
    if build.constraints.reads:
        work.put("held against", [work.read(text).text for text in build.constraints.reads])


def _start(table: TableEntry | None) -> dict[str, str]:
    """What a write starts from. Which partitions it replaces, and in which order it adds rows, depends on more than rows."""
    if table is None:
        return {"starts from": "nothing"}
    layout = table.layout or identity(dataclasses.replace(table, content=None))
    shape = [layout, table.comment, [[c.name, c.required, c.comment] for c in table.columns]]
    return {"starts from": identity(table), "starts as": _value(shape)}


def of_batch(session: RunSession, build: Build) -> Fingerprint:
    """The fingerprint of the rows that a batch puts in the place of its time's, whatever the table has."""
    assert build.batch is not None
    assert build.sql is not None
    work = _Work(session, build.reuse, build.setup)
    work.declare(session, build)
    constraints = dataclasses.replace(build.constraints, table="")
    work.parts.update({"mode": "batch", "engine": _engine(session), "on_schema_change": build.on_schema_change})
    work.put("batch", dataclasses.asdict(build.batch.range))
    work.put("code", work.read(build.sql).text)
    work.put("constraints", dataclasses.asdict(constraints))
    _promises(work, build)
    if build.setup:
        work.put("setup", [work.read(statement).text for statement in build.setup])
    if session.keeps_state or session.prepared_others(build.setup):
        work.obstacles.append("settings of its session were changed by hand, in a hook or macro")
    return work.fingerprint()


def starting_from(mark: Fingerprint, table: TableEntry) -> Fingerprint:
    """The fingerprint of a write to a table, from what else shapes it."""
    return dataclasses.replace(mark, parts={**mark.parts, **_start(table)})


def files_are(session: RunSession, build: Build, mark: Fingerprint) -> bool:
    """Whether the files that a build reads and of which its fingerprint knows are still what they were then."""
    if not attached.stayed(session.settings, mark.parts.items()):
        return False
    if not build.files:
        return True
    now = files.look(build.files, session.settings, external_access=build.external_access)
    parts = {"files": now.digest, "files changed": now.changed}
    return all(mark.parts.get(name, value) == value for name, value in parts.items())


def of_query(session: RunSession, sql: str) -> Fingerprint:
    """The fingerprint of a query's rows."""
    work = _Work(session, "auto")
    work.parts["engine"] = _engine(session)
    work.put("code", work.read(sql).text)
    if session.keeps_state:
        work.obstacles.append("settings of its session were changed by hand, in a hook or macro")
    return work.fingerprint()


def _configuration(build: Build) -> dict[str, str]:
    constraints = dataclasses.replace(build.constraints, table="")
    said: dict[str, Any] = {
        "mode": build.mode,
        "source": build.source,
        "incoming": build.incoming,
        "on_schema_change": None if build.mode == "create" else build.on_schema_change,
        "partition_by": build.partition_by,
        "sort_by": build.sort_by,
        "properties": dict(build.properties),
        "comment": build.comment,
        "column_comments": dict(build.column_comments),
        "constraints": dataclasses.asdict(constraints) if constraints != type(constraints)() else None,
        "content_identity": None if build.content_identity else False,
    }
    return {name: _value(value, _LONG_CONFIGURATION) for name, value in said.items() if value not in (None, (), {})}


def _python(work: _Work, session: RunSession, build: Build) -> None:
    assert build.python is not None
    source = build.python
    own = str(build.name)
    folders = session.settings.module_paths
    known = python_parts.look_at(
        source, build.name.name, files=bool(build.files) and not build.more_files, folders=folders
    )
    text = source.code
    if known.reads_itself:
        current = session.state.get(build.name)
        work.parts["input itself"] = identity(current) if isinstance(current, TableEntry) else "nothing"
    for relation in sorted(set(source.reads) - {own}, key=len, reverse=True):
        text = text.replace(relation, work.read(f"SELECT * FROM {relation}").text)
    work.put("code", python_parts.normal(text))
    work.parts.update(known.parts)
    for piece in known.sql:
        work.check_text(piece)
    for query in functions.relations_in_python(build):
        work.read(query)
    work.obstacles.extend(known.obstacles if build.reuse == "auto" else ())
    for why in known.time if build.reuse == "auto" else ():
        work.obstacles.append(why)
    if source.internet_access and build.reuse == "auto":
        work.obstacles.append("it has internet access")


def _decide(work: _Work, session: RunSession, build: Build) -> None:
    """Take down what decides which rows change; the time must not."""
    assert build.deciding
    deciding = _Work(session, build.reuse, build.setup, build.source)
    deciding.declared, deciding.more_files = work.declared, work.more_files
    query, *expressions = build.deciding
    work.put("deciding", [deciding.read(query).text, *map(deciding.opaque, expressions)])
    work.obstacles.extend(deciding.obstacles)
    work.time_gets_in = True


class _Work:
    """Collects parts and obstacles. With ``time_gets_in`` asking for the time is no obstacle, but noted in ``timed``."""

    time_gets_in = False
    timed = False
    declared: Declared | None = None
    more_files = False

    def __init__(self, session: RunSession, reuse: str, setup: tuple[str, ...] = (), source: str | None = None) -> None:
        self.parts: dict[str, str] = {}
        self.obstacles: list[str] = []
        self._session = session
        self._reuse = reuse
        self._source = source
        self._labels: dict[tuple[str, str, str], str | None] = {}
        self._macros = calls.macros((*(session.run.definitions if session.run is not None else ()), *setup))
        self._above: list[tuple[str, str, str]] = []

    def put(self, name: str, value: Any) -> None:
        """Add a part."""
        self.parts[name] = _value(value)

    def fingerprint(self) -> Fingerprint:
        """All that was collected."""
        if self._reuse in ("hour", "day"):
            now = datetime.now(UTC)
            self.parts["period"] = now.strftime("%Y-%m-%d" if self._reuse == "day" else "%Y-%m-%dT%H")
        if self._reuse == "always":
            # Who says so takes the results of those who say so, and nobody else does.
            self.parts["declared"] = "always"
        return Fingerprint(parts=self.parts, obstacles=tuple(dict.fromkeys(self.obstacles)), steady=self.timed)

    def declare(self, session: RunSession, build: Build) -> None:
        """Let the files outside of the lake that a build says it reads be inputs."""
        if not build.files:
            return
        self.declared = files.look(build.files, session.settings, external_access=build.external_access)
        self.more_files = build.more_files
        self.parts["files"] = self.declared.digest
        for why in self.declared.obstacles:
            self._not(why)

    # what SQL says

    def read(self, sql: str) -> Normal:
        """A statement in normal form; what it reads and calls is taken down."""
        found = normal(sql, self._label, self._function)
        self._check(found)
        return found

    def opaque(self, sql: str) -> str:
        """A statement of which no more is understood than what it calls."""
        self.check_text(sql)
        return normal(sql, lambda _: None).text

    def check_text(self, text: str) -> None:
        """Take down what a text calls that may hold SQL."""
        known = self._functions()
        for called in known.in_text(text):
            self._called(called)
        for name in self._names_in(text) & self._macros.keys():
            self._use_macro(name, set())
        self._of_plugins(self._names_in(text))
        for reference in reads(text).functions:
            self._function(reference)

    def _of_plugins(self, names: Iterable[str]) -> None:
        """Functions that plugins make are constant by what DuckDB knows, which is nothing of their code."""
        host = plugins.host(self._session.settings)
        if host is None:
            return
        if host.functions is None:
            self._session.functions()  # which has a worker prepare its DuckDB
        for name in sorted(set(names) & (host.functions or frozenset())):
            self._not(f"it calls {name}, which a plugin of the profile makes")

    @staticmethod
    def _names_in(text: str) -> set[str]:
        from dbt.adapters.lakehouse.run.tokens import tokenize

        return {token.name.lower() for token in tokenize(text) if token.is_name}

    def _check(self, found: Normal) -> None:
        known = self._functions()
        named = found.calls | found.table_calls if found.exact else found.values
        own = {name for name in map(str.lower, named) if name in self._macros}
        for name in sorted(own):
            self._use_macro(name, set())
        self._of_plugins(map(str.lower, named))
        for name in sorted(found.calls):
            if name.lower() not in own:
                self._called(Called(name, self._ask(known.scalar, name)))
        for name in sorted(found.table_calls):
            if name.lower() not in own and not self._reads_declared(name.lower(), found):
                self._called(Called(name, self._ask(known.table, name)))
        if found.exact:
            for name in sorted(found.values):
                self._called(Called(name, calls.value_nature(name)))
        else:
            for called in known.in_text(" ".join(json.loads(found.text))):
                self._called(called)
        if found.samples:
            self._not("it takes a sample")
        if found.asks_catalog:
            self._not("it asks for the catalog of the lake")
        hidden = {name for name in found.values if name in self._session.temporaries} if not found.exact else set()
        for name in sorted(found.strangers | hidden):
            self._stranger(name)

    def _reads_declared(self, function: str, found: Normal) -> bool:
        """Whether a function reads declared files alone, as far as its arguments show what it reads."""
        if self.declared is None or not _FILES.fullmatch(function):
            return False
        unknown = [text for name, texts in found.reads if name == function for text in texts if not self._covers(text)]
        for text in unknown:
            self._not(f"it reads {text}, which is not declared in `reuse: {{files: …}}`")
        if self.more_files and any(name == function and not texts for name, texts in found.reads):
            self._not(f"it calls {function} with a computed path; declare what it reads in `reuse: {{files: …}}`")
        if function in _TELL_TIMES:
            self.parts["files changed"] = self.declared.changed
        return True

    def _covers(self, file: str) -> bool:
        return self.declared is not None and self.declared.covers(file)

    def _stranger(self, name: str) -> None:
        if self._covers(name.strip("'")):
            return
        if name in self._session.temporaries:
            # Whatever is declared: another session's table of that name is another table.
            self.obstacles.append(f"it reads {name}, which is a temporary table")
        else:
            self._not(f"it reads {name}, which is not in the lake")

    def _called(self, called: Called) -> None:
        name = called.name
        match called.nature:
            case Nature.TIME:
                if self.time_gets_in:
                    self.timed = True
                elif self._reuse == "auto":
                    self.obstacles.append(f"it calls {name}, which depends on the time (see `reuse: {{per: day}}`)")
            case Nature.SESSION:
                self._not(f"it calls {name}, which depends on the session")
            case Nature.OUTSIDE:
                self._not(f"it calls {name}, which reads what is not in the lake")
            case Nature.VOLATILE:
                self._not(f"it calls {name}, which is volatile")
            case Nature.UNKNOWN:
                self._not(f"it calls {name}, of which DuckDB tells nothing")

    def _not(self, why: str) -> None:
        if self._reuse != "always":
            self.obstacles.append(why)

    def _use_macro(self, name: str, above: set[str]) -> None:
        self.put(f"macro {name}", [macro.text for macro in self._macros[name]])
        for macro in self._macros[name]:
            self._check_macro(name, macro, above | {name})

    def _check_macro(self, name: str, macro: Macro, above: set[str]) -> None:
        if macro.reads or set(_HIDING) & macro.names:
            self._not(f"it calls the macro {name}, which reads relations")
        for called in self._functions().in_text(macro.text):
            self._called(called)
        for inner in sorted((macro.names & self._macros.keys()) - above):
            self._use_macro(inner, above)

    # functions

    def _functions(self) -> Functions:
        return calls.functions()

    def _ask(self, of: Callable[[str], Nature], name: str) -> Nature:
        nature = of(name)
        if nature is not Nature.UNKNOWN:
            return nature
        session = self._session
        worker = calls.remembered((session.settings.warehouse, *session.settings.extensions), session.functions)
        return worker.scalar(name) if of.__name__ == "scalar" else worker.table(name)

    def _function(self, reference: Reference) -> str | None:
        """The label of a function of the lake that is called; what it gives is taken down."""
        found = self._session.planner.function(reference)
        if found is None:
            return None
        database, entry = found
        place = (database.lower(), *_folded(entry))
        if place not in self._labels:
            same = sum(other[2] == place[2] for other in self._labels)
            label = place[2] if not same else f"{place[2]}#{same + 1}"
            self._labels[place] = label
            self.parts[f"function {label}"] = self._gives(database, entry, place)
        return self._labels[place]

    def _gives(self, database: str, entry: FunctionEntry, place: tuple[str, str, str]) -> str:
        """What a function gives, as one value."""
        if place in self._above:
            return "itself"
        made = self._session.planner.definition(database, entry)
        # Who calls it deterministic vouches for it.
        inner = _Work(self._session, "always" if made.volatility == "deterministic" else self._reuse)
        inner.declared, inner.more_files = self.declared, self.more_files
        inner._above = [*self._above, place]
        inner.put("kind", [made.language, made.type, made.entry_point])
        for number, signature in enumerate(made.signatures):
            arguments = [[one.name.lower(), one.type, one.default] for one in signature.arguments]
            inner.put(f"signature {number}", [arguments, signature.returns])
        for number, text in enumerate(functions.texts(made)):
            inner.put(f"code {number}", inner.read(text).text)
        if made.language == "python":
            source = functions.source(made)
            known = python_parts.look_at(source, "\0", folders=self._session.settings.module_paths)
            inner.put("python", python_parts.normal(source.code))
            inner.parts.update(known.parts)
            if inner._reuse == "auto":
                inner.obstacles.extend((*known.obstacles, *known.time))
        if made.volatility == "non-deterministic" or (made.volatility == "stable" and made.language == "python"):
            inner._not(f"it is {made.volatility}")
        self.obstacles.extend(
            f"{why} (in function {entry.schema}.{functions.called(entry.name)})" for why in inner.obstacles
        )
        self.parts.update({name: part for name, part in inner.parts.items() if name.startswith(attached.PART)})
        return f"function:{Fingerprint(parts=inner.parts).id}"

    # relations

    def _label(self, reference: Reference) -> str | None:
        session = self._session
        if not (reference.database or reference.schema):
            if self._source is not None and reference.name.lower() == self._source.lower():
                return "(its rows)"
            if reference.name.lower() in session.temporaries:
                # Said here as well: to the normal form, a CTE of that name would explain it.
                self._not(f"it reads {reference.name}, which is not in the lake")
                return None
        if (alias := session.planner.attached(reference)) is not None:
            return self._beside(alias, reference)
        name = session.planner.resolve(reference)
        entry = session.state.get(name) if name is not None else None
        if name is None or not isinstance(entry, TableEntry | ViewEntry):
            return None
        place = (name.database.lower(), *_folded(entry))
        if place not in self._labels:
            same = sum(other[2] == place[2] for other in self._labels)
            label = place[2] if not same else f"{place[2]}#{same + 1}"
            self._labels[place] = label
            self.parts[f"input {label}"] = self._identity(name, entry, place)
        return self._labels[place]

    def _beside(self, alias: str, reference: Reference) -> str:
        """A relation of an attached database: of a file, its size and time of change are a part."""
        where = f"{alias}.{reference.schema if reference.database else 'main'}.{reference.name}"
        state = attached.state_of(self._session.settings, alias)
        if state is None:
            self._not(f"it reads {where} of an attached database, of which nobody can tell when it changes")
        elif self._reuse != "always":
            schema = reference.schema if reference.database else "main"
            self._view_beside(alias, state, (schema.lower(), reference.name.lower()))
        self.parts[f"{attached.PART}{alias}"] = state or attached.UNKNOWN
        return where.lower()

    def _view_beside(self, alias: str, state: str, place: attached_views.Place) -> None:
        """A view of an attached file may read other files, or ask for the time."""
        found = attached_views.contents(self._session, alias, state)
        where = ".".join((alias, *place))
        if found is None or (place in found.views and found.views[place] is None):
            self._not(f"it reads {where} of an attached database, of which nobody can tell what it reads itself")
        elif place in found.views:
            inner = _ViewBeside(self._session, self._reuse, found)
            inner.look(place)
            self.obstacles.extend(f"{why} (in view {where})" for why in inner.obstacles)

    def _identity(self, name: Name, entry: TableEntry | ViewEntry, place: tuple[str, str, str]) -> str:
        if isinstance(entry, TableEntry):
            return identity(entry)
        inner = _Work(self._session, self._reuse)
        inner.declared, inner.more_files = self.declared, self.more_files
        inner._above = [*self._above, place]
        if place in self._above:
            return "itself"
        inner.put("code", inner.read(self._session.planner.body(name.database, entry)).text)
        self.obstacles.extend(f"{why} (in view {entry.schema}.{entry.name})" for why in inner.obstacles)
        self.parts.update({name: part for name, part in inner.parts.items() if name.startswith(attached.PART)})
        # Two views of one query may name their columns by what they select from.
        inner.put("columns", [(column.name, column.type) for column in entry.columns])
        return f"view:{Fingerprint(parts=inner.parts).id}"


class _ViewBeside(_Work):
    """What views of an attached file read and call, of which only their own file's tables are known."""

    def __init__(self, session: RunSession, reuse: str, contents: attached_views.Contents) -> None:
        super().__init__(session, reuse)
        self._contents = contents
        self._schema = "main"
        self._macros = {}
        self._seen: set[attached_views.Place] = set()

    def look(self, place: attached_views.Place) -> None:
        """Take down what a view is made of, and the views that it reads."""
        query = self._contents.views.get(place)
        if query is None or place in self._seen:
            return
        self._seen.add(place)
        outer, self._schema = self._schema, place[0]
        self.read(query)
        self._schema = outer

    def _label(self, reference: Reference) -> str | None:
        place = self._contents.find(reference, self._schema)
        if place is not None:
            self.look(place)
        return None if place is None else ".".join(place)

    def _function(self, reference: Reference) -> str | None:
        del reference  # functions of the lake are not known there
        return None


def _folded(entry: Entry) -> tuple[str, str]:
    key = Key(entry.schema, entry.name)
    return key.schema, key.name


def _value(value: Any, longest: int = _LONG) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=list)
    return text if len(text) <= longest else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def engine(session: RunSession) -> str:
    """The DuckDB of a session with its settings, as one short value."""
    return hashed(_engine(session))[:16]


def _engine(session: RunSession) -> str:
    settings = session.settings
    said: dict[str, Any] = {
        "duckdb": duckdb.__version__,
        "writer": WRITER,
        "extensions": settings.extensions,
        # Parts of fingerprints are kept where others read them.
        "settings": {
            name.lower(): str(value) for name, value in settings.duckdb_settings.items() if not is_secret(name)
        },
        "time zone": _time_zone(),
    }
    if settings.plugins:
        said["plugins"] = plugins.code_of(settings)
    return _value(said, _LONG_CONFIGURATION)


@functools.cache
def _time_zone() -> str:
    row = parser().execute("SELECT current_setting('TimeZone')").fetchone()
    return str(row[0]) if row else ""
