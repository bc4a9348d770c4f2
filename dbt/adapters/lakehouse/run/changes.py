"""What users write by hand against lake relations, in hooks, operations and their own materializations.

Rows are changed by the user's own statement, to the letter, on a table that stands in for the lake's while it runs; here
is only decided which rows that table must hold, and what becomes of names.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.model import (
    Entry,
    Key,
    Materialized,
    SchemaEntry,
    TableEntry,
    ViewEntry,
    kind_of,
)
from dbt.adapters.lakehouse.errors import NotInLake, SqlError
from dbt.adapters.lakehouse.jobs.function import SUFFIX
from dbt.adapters.lakehouse.jobs.job import Alter, Alteration, Create, Edit, Input, Query
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.run import functions, grants, materialized, reuse
from dbt.adapters.lakehouse.run.alterations import Retype, is_done, parse_alteration
from dbt.adapters.lakehouse.run.attached import refuse
from dbt.adapters.lakehouse.run.statements import Kind, Reference, Statement, is_volatile
from dbt.adapters.lakehouse.run.tokens import mentions
from dbt.adapters.lakehouse.run.values import Name, Result
from dbt.adapters.lakehouse.tables.values import Constraints, TableSpec, Written

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession

_STAGED = "__lakehouse_new_table"


def apply(session: RunSession, statement: Statement) -> Result:
    """Carry out a statement that is neither a query nor DuckDB's own business."""
    if statement.kind in (Kind.CREATE_SCHEMA, Kind.DROP_SCHEMA):
        name = _schema_name(session, statement.target)
    else:
        name = None if is_temporary(session, statement) else session.planner.resolve(statement.target)
    refuse(session.settings, _database(session, statement, name), _target(statement))
    if name is not None and name.schema.lower() in session.by_hand and not session.state.has_schema(name.schema):
        # ``other.t`` after ``ATTACH … AS other`` is a table of that database, as it is in DuckDB.
        name = None
    if name is not None and statement.kind is Kind.DROP_FUNCTION:
        name = dataclasses.replace(name, name=name.name + SUFFIX)
        if session.state.get(name) is None:
            name = None  # a macro of the session, if anything
    elif name is not None:
        functions.refuse_name(name)
    if name is None:
        answer = session.submit(Query(sql=statement.sql), session.inputs(statement.sql))
        _remember_temporary(session, statement)
        return Result(columns=answer.columns, rows=answer.rows, rows_affected=answer.rows_affected)
    run = session.writable(name.database, str(name))
    key = Key(name.schema, name.name)
    with session.locked(run, key):
        # What stands there now is what the statement is about; the commit insists on it.
        run.own()
        session.seen = {key: session.state.own.content(key)}
        session.said, session.began = {}, time.perf_counter()
        try:
            return _HANDLERS[statement.kind](session, statement, name)
        finally:
            session.seen, session.said = {}, {}


def _database(session: RunSession, statement: Statement, name: Name | None) -> str:
    """The database that a statement writes to, as far as it says so: ``crm.t`` may be one without its schema."""
    target = statement.target
    if statement.kind in (Kind.CREATE_SCHEMA, Kind.DROP_SCHEMA):
        return target.schema
    if target.database or not target.schema:
        return target.database
    return "" if name is not None and session.state.has_schema(name.schema) else target.schema


def _target(statement: Statement) -> str:
    target = statement.target
    return ".".join(filter(None, (target.database, target.schema, target.name)))


def is_temporary(session: RunSession, statement: Statement) -> bool:
    """Whether the target is a temporary relation of the session, which hides one of the lake as it does in DuckDB."""
    target = statement.target
    if statement.temporary or (not target.database and target.schema.lower() in _OF_DUCKDB):
        return True
    if statement.kind in (Kind.CREATE_TABLE, Kind.CREATE_VIEW, Kind.CREATE_MATERIALIZED):
        return False
    return not (target.database or target.schema) and target.name.lower() in session.temporaries


_OF_DUCKDB = ("temp", "memory")
"""DuckDB's own databases: ``temp.t`` is no table of a schema ``temp``."""


def _remember_temporary(session: RunSession, statement: Statement) -> None:
    name = statement.target.name.lower()
    if {statement.target.database.lower(), statement.target.schema.lower()} & session.by_hand:
        return
    if statement.kind in (Kind.CREATE_TABLE, Kind.CREATE_VIEW):
        session.temporaries.add(name)
    elif statement.kind in (Kind.DROP_TABLE, Kind.DROP_VIEW):
        session.temporaries.discard(name)
    elif statement.kind is Kind.ALTER and isinstance(to := parse_alteration(statement.body or ""), str):
        session.temporaries.discard(name)
        session.temporaries.add(to.lower())


def _schema_name(session: RunSession, target: Reference) -> Name | None:
    """``CREATE SCHEMA`` names a schema where other statements name a relation."""
    database = target.schema or session.database
    if session.state.snapshot(database) is None:
        return None
    return Name(database=database, schema=target.name, name="")


def _table(session: RunSession, name: Name) -> TableEntry:
    entry = session.state.get(name)
    if isinstance(entry, ViewEntry):
        raise SqlError(f"{name} is a view; its rows cannot be changed")
    if not isinstance(entry, TableEntry):
        raise NotInLake(f"table {name} does not exist on this branch")
    materialized.check_rows_of(name, entry)
    return entry


# rows


def _edit(session: RunSession, statement: Statement, name: Name) -> Result:
    """INSERT, UPDATE, DELETE, MERGE, TRUNCATE."""
    key = Key(name.schema, name.name)
    table = _table(session, name)
    matching, alias = _concerned(session, statement, table)
    statements = () if statement.kind is Kind.TRUNCATE else (statement.sql,)
    action = Edit(
        target=session.as_input(table),
        matching=matching,
        alias=alias,
        statements=statements,
        constraints=Constraints(table=str(key)),
    )
    answer = session.submit(action, _read(session, statement.sql))
    assert answer.written is not None
    _put_table(session, name, answer.written, table, f"{statement.kind.name.capitalize()} {key}", statement.sql)
    # With RETURNING there are rows instead of a count.
    count = len(answer.rows) if answer.rows_affected is None else answer.rows_affected
    return Result(
        columns=answer.columns, rows=answer.rows, rows_affected=count, message=f"{statement.kind.name} {count}"
    )


def _concerned(session: RunSession, statement: Statement, table: TableEntry) -> tuple[str | None, str]:
    """Which rows of the table a statement can touch, as a condition on an alias: None means any."""
    alias = statement.alias or table.name
    if statement.kind is Kind.TRUNCATE:
        return "true", alias
    if statement.kind is Kind.INSERT:
        return (None if _reads_itself(session, statement, table) else "false"), alias
    if statement.where is None or is_volatile(statement.where) or _reads_itself(session, statement, table):
        return None, alias
    if session.planner.calls(f"SELECT {statement.where}"):
        return None, alias
    # A condition that names columns in a way that only works on the table's own name falls back to all rows.
    probe = f"SELECT 1 FROM {_dotted(session, table)} AS {quote(alias)} WHERE {statement.where}"
    try:
        session.describe(probe)
    except SqlError:
        return None, alias
    return statement.where, alias


def _reads_itself(session: RunSession, statement: Statement, table: TableEntry) -> bool:
    """Whether the statement may read its own target: names it a second time, or what may lead to it unseen."""
    return mentions(statement.sql, table.name) > 1 or session.reads_hidden(statement.sql)


def _put_table(
    session: RunSession,
    name: Name,
    written: Written,
    before: TableEntry | None,
    message: str,
    sql: str,
    *,
    view: Materialized | None = None,
    node: str | None = None,
) -> None:
    from dbt.adapters.lakehouse.run.session import table_entry

    node = before.node if before is not None else node
    inputs = _inputs(session, name, written, before)
    session.said |= {"rows_written": written.rows_written, "rows_deleted": written.rows_deleted}
    if before is None:
        session.said["replaces"] = True  # nothing of what stood there is in it
    content = reuse.content_of(before, written)
    entry = table_entry(name, written, node=node, inputs=inputs, content=content, view=view)
    _put(session, name, entry, message, sql)


def _inputs(session: RunSession, name: Name, written: Written, before: TableEntry | None) -> dict[str, str]:
    """What a table was computed from once a statement changed it: what it was before, and what the statement read."""
    read: dict[str, str] = dict(session.said.get("inputs", {}))
    if before is None:
        return read
    if not (written.rows_written or written.rows_deleted):
        return dict(before.inputs)
    own = f"{name.schema}.{name.name}".lower()
    return {**before.inputs, **{key: content for key, content in read.items() if key.lower() != own}}


def _put(
    session: RunSession,
    name: Name,
    entry: Entry | None,
    message: str,
    sql: str,
    more: Sequence[tuple[Key, Entry | None]] = (),
) -> None:
    run = session.writable(name.database, str(name))
    puts: list[tuple[Key, Entry | None]] = [(Key(name.schema, name.name), entry), *more]
    if entry is not None and name.name and not session.state.has_schema(name.schema):
        puts.insert(0, (Key(name.schema, ""), SchemaEntry(schema=name.schema)))
    run.commit(puts, message, _provenance(session, sql), seen=session.seen)


def _provenance(session: RunSession, sql: str) -> dict[str, Any]:
    """What a statement's commit says of it. What was changed by hand in its session is not repeated with it."""
    said = {"statement": sql, **session.said, "seconds": round(time.perf_counter() - session.began, 6)}
    if session.node is not None:
        # Not as ``node``, whose table it need not be: a hook's statement.
        said["acting"] = session.node
    return {**said, "session_changed": True} if session.keeps_state or session.temporaries else said


def _read(session: RunSession, sql: str) -> tuple[Input, ...]:
    """The inputs of a statement, which its commit is to name."""
    inputs = session.inputs(sql)
    session.said["inputs"] = session.planner.keys(inputs)
    return inputs


# names


def _create_table(session: RunSession, statement: Statement, name: Name) -> Result:
    current = session.state.get(name)
    if current is not None and statement.if_not_exists:
        return Result()
    if current is not None and not statement.or_replace:
        raise SqlError(f"{name} exists already; say CREATE OR REPLACE, or drop it first")
    if statement.clone_of is not None:
        return _clone(session, statement, name)
    table = current if isinstance(current, TableEntry) else None
    if statement.kind is Kind.CREATE_MATERIALIZED and statement.body is None:
        raise SqlError(f"CREATE MATERIALIZED VIEW {name} has no query")
    spec = session.table_spec(name, table)
    setup: tuple[str, ...] = ()
    if statement.body is None:
        setup = (f"CREATE OR REPLACE TEMP TABLE {_STAGED} ({statement.columns})",)
        columns = session.describe(f"SELECT * FROM {_STAGED}", setup)
        _refuse_promises(session, name)
        declared = session.submit(Query(sql=f"DESCRIBE {_STAGED}")).rows
        required = tuple(str(row[0]) for row in declared if row[2] == "NO")
        spec = TableSpec(location=spec.location, table_uuid=spec.table_uuid, constraints=Constraints(not_null=required))
        body = f"SELECT {', '.join(quote(c.name) for c in columns)} FROM {_STAGED}"
    else:
        body = _renamed(statement)
    inputs = _read(session, body)
    action = Create(spec=spec, sql=body, replaces=table.metadata_location if table is not None else None)
    answer = session.submit(action, inputs)
    assert answer.written is not None
    view = Materialized(sql=body) if statement.kind is Kind.CREATE_MATERIALIZED else None
    what = "table" if view is None else "materialized view"
    message = f"Create {what} {name.schema}.{name.name}"
    _put_table(session, name, answer.written, None, message, statement.sql, view=view)
    rows = answer.written.rows_written
    return Result(rows_affected=rows, message=f"CREATE {what.upper()} {rows}")


def _refresh(session: RunSession, statement: Statement, name: Name) -> Result:
    """REFRESH MATERIALIZED VIEW: its query's rows as they are now."""
    table = session.state.get(name)
    if not isinstance(table, TableEntry):
        raise NotInLake(f"materialized view {name} does not exist on this branch")
    action, view = materialized.refreshing(name, table)
    answer = session.submit(action, _read(session, view.sql))
    assert answer.written is not None
    message = f"Refresh {name.schema}.{name.name}"
    _put_table(session, name, answer.written, None, message, statement.sql, view=view, node=table.node)
    return Result(rows_affected=answer.written.rows_written, message=f"REFRESH {answer.written.rows_written}")


def _refuse_promises(session: RunSession, name: Name) -> None:
    """Raise for what later writes would not keep: Iceberg tables have no defaults and no checks.

    Keys are taken as what they are in other warehouses, a remark that nobody enforces.
    """
    rows = session.submit(
        Query(
            sql=f"SELECT column_name || ' DEFAULT ' || column_default FROM duckdb_columns() WHERE table_name = '{_STAGED}' "
            "AND column_default IS NOT NULL UNION ALL SELECT constraint_text FROM duckdb_constraints() "
            f"WHERE table_name = '{_STAGED}' AND constraint_type = 'CHECK'"
        )
    ).rows
    if rows:
        raise SqlError(
            f"table {name} cannot be created with {', '.join(str(row[0]) for row in rows)}: lake tables have neither "
            "defaults nor checks; leave them out, or let a model with a contract check its rows"
        )


def _clone(session: RunSession, statement: Statement, name: Name) -> Result:
    """Another name for the same table, at the same state: nothing is copied. A view's clone has the same SQL."""
    assert statement.clone_of is not None
    source = session.planner.resolve(statement.clone_of)
    entry = session.state.get(source) if source is not None else None
    wanted = _CLONED[statement.kind]
    copy: Entry
    if isinstance(entry, TableEntry) and wanted != "view":
        if wanted == "materialized_view" and entry.view is None:
            raise SqlError(f"{source} is a table, not a materialized view; say CREATE TABLE … CLONE")
        view = entry.view if wanted == "materialized_view" else None
        copy = dataclasses.replace(entry, schema=name.schema, name=name.name, view=view)
    elif isinstance(entry, ViewEntry) and wanted == "view":
        copy = dataclasses.replace(entry, schema=name.schema, name=name.name)
    else:
        kind = wanted.replace("_", " ")
        also = "; only tables can be cloned" if kind == "table" else ""
        raise NotInLake(f"{source or statement.clone_of.name} is not a {kind} of the lake{also}")
    _put(session, name, copy, f"Clone {entry.schema}.{entry.name} as {name.schema}.{name.name}", statement.sql)
    return Result(message="CLONE")


_CLONED = {Kind.CREATE_TABLE: "table", Kind.CREATE_VIEW: "view", Kind.CREATE_MATERIALIZED: "materialized_view"}


def _create_view(session: RunSession, statement: Statement, name: Name) -> Result:
    current = session.state.get(name)
    if current is not None and statement.if_not_exists:
        return Result()
    if current is not None and not (statement.or_replace and isinstance(current, ViewEntry)):
        raise SqlError(f"{name} exists already; say CREATE OR REPLACE, or drop it first")
    if statement.clone_of is not None:
        return _clone(session, statement, name)
    if statement.body is None:
        raise SqlError(f"CREATE VIEW {name} has no query")
    session.create_view(name, _renamed(statement))
    return Result(message="CREATE VIEW")


def _renamed(statement: Statement) -> str:
    """The query of CREATE … AS, with the column names of ``CREATE … (a, b) AS`` if there are any."""
    assert statement.body is not None
    if statement.columns is None:
        return statement.body
    return f"SELECT * FROM ({statement.body}) AS renamed({statement.columns})"


_DROPPED = {
    Kind.DROP_TABLE: "table",
    Kind.DROP_VIEW: "view",
    Kind.DROP_MATERIALIZED: "materialized_view",
    Kind.DROP_FUNCTION: "function",
}


def _drop(session: RunSession, statement: Statement, name: Name) -> Result:
    current = session.state.get(name)
    wanted = _DROPPED[statement.kind]
    if current is None:
        if statement.if_exists:
            return Result()
        raise NotInLake(f"{name} does not exist on this branch")
    if kind_of(current) != wanted:
        is_kind, not_kind = kind_of(current).replace("_", " "), wanted.replace("_", " ")
        raise SqlError(f"{name} is a {is_kind}, not a {not_kind}; say DROP {is_kind.upper()}")
    more = grants.moved(session, name, None)
    _put(session, name, None, f"Drop {name.schema}.{name.name}", statement.sql, more)
    return Result(message="DROP")


def _create_schema(session: RunSession, statement: Statement, name: Name) -> Result:
    if session.state.has_schema(name.schema):
        if statement.if_not_exists or statement.or_replace:
            return Result()
        raise SqlError(f"schema {name.schema!r} exists already")
    _put(session, name, SchemaEntry(schema=name.schema), f"Create schema {name.schema}", statement.sql)
    return Result(message="CREATE SCHEMA")


def _drop_schema(session: RunSession, statement: Statement, name: Name) -> Result:
    if not session.state.has_schema(name.schema):
        if statement.if_exists:
            return Result()
        raise NotInLake(f"schema {name.schema!r} does not exist on this branch")
    held = session.relations(name.database, name.schema)
    if held and not statement.cascade:
        raise SqlError(
            f"schema {name.schema!r} holds {len(held)} relations; say DROP SCHEMA … CASCADE to drop them too"
        )
    puts: list[tuple[Key, Entry | None]] = [(Key(entry.schema, entry.name), None) for entry in held]
    if session.state.own.get(Key(name.schema, "")) is not None:
        puts.append((Key(name.schema, ""), None))
    run = session.writable(name.database, name.schema)
    run.commit(puts, f"Drop schema {name.schema}", _provenance(session, statement.sql), seen={})
    return Result(message="DROP SCHEMA")


def _alter(session: RunSession, statement: Statement, name: Name) -> Result:
    current = session.state.get(name)
    if current is None:
        if statement.if_exists:
            return Result()
        raise NotInLake(f"{name} does not exist on this branch")
    wish = parse_alteration(statement.body or "")
    if isinstance(wish, str):
        return _rename(session, statement, name, current, wish)
    table = _table(session, name)
    if is_done(statement.body or "", [column.name for column in table.columns]):
        return Result(message="ALTER TABLE")
    if isinstance(wish, Retype):
        return _rewrite(session, statement, name, table, wish.select_sql(_dotted(session, table)))
    if wish is None:
        raise SqlError(f"this ALTER TABLE is not supported on lake tables: {statement.sql}")
    answer = session.submit(Alter(base=table.metadata_location, alterations=(wish,)))
    assert answer.written is not None
    _put_table(session, name, answer.written, table, f"Alter {name.schema}.{name.name}", statement.sql)
    return Result(message="ALTER TABLE")


def _rewrite(session: RunSession, statement: Statement, name: Name, table: TableEntry, sql: str) -> Result:
    spec = session.table_spec(name, table)
    action = Create(spec=spec, sql=sql, replaces=table.metadata_location, keeps_layout=True)
    answer = session.submit(action, session.inputs(sql))
    assert answer.written is not None
    _put_table(session, name, answer.written, table, f"Alter {name.schema}.{name.name}", statement.sql)
    return Result(message="ALTER TABLE")


def _rename(session: RunSession, statement: Statement, name: Name, current: Entry, to: str) -> Result:
    target = Name(database=name.database, schema=name.schema, name=to)
    functions.refuse_name(target)
    if session.state.get(target) is not None and Key(name.schema, to) != Key(name.schema, name.name):
        raise SqlError(f"{target} exists already; drop it first")
    assert not isinstance(current, SchemaEntry)
    moved = dataclasses.replace(current, name=to)
    run = session.writable(name.database, str(name))
    puts: list[tuple[Key, Entry | None]] = [(Key(name.schema, name.name), None), (Key(name.schema, to), moved)]
    if puts[0][0] == puts[1][0]:
        puts.pop(0)
    puts += grants.moved(session, name, to)
    run.commit(
        puts, f"Rename {name.schema}.{name.name} to {to}", _provenance(session, statement.sql), seen=session.seen
    )
    return Result(message="ALTER")


def _comment(session: RunSession, statement: Statement, name: Name) -> Result:
    current = session.state.get(name)
    if current is None:
        raise NotInLake(f"{name} does not exist on this branch")
    text = _literal(session, statement.body or "NULL")
    column = statement.columns
    if column is not None and column.lower() not in {c.name.lower() for c in getattr(current, "columns", ())}:
        raise NotInLake(f"{name} has no column {column!r}")
    message = f"Comment on {name.schema}.{name.name}"
    if isinstance(current, ViewEntry):
        if column is None:
            entry = dataclasses.replace(current, comment=text)
        else:
            columns = tuple(
                dataclasses.replace(c, comment=text) if c.name.lower() == column.lower() else c for c in current.columns
            )
            entry = dataclasses.replace(current, columns=columns)
        _put(session, name, entry, message, statement.sql)
        return Result(message="COMMENT")
    assert isinstance(current, TableEntry)
    table = current
    wish = Alteration(what="comment" if column is None else "column_comment", column=column or "", to=text)
    answer = session.submit(Alter(base=table.metadata_location, alterations=(wish,)))
    assert answer.written is not None
    _put_table(session, name, answer.written, table, message, statement.sql, view=table.view)
    return Result(message="COMMENT")


def _literal(session: RunSession, text: str) -> str | None:
    rows = session.submit(Query(sql=f"SELECT {text}")).rows
    value = rows[0][0] if rows else None
    return None if value is None else str(value)


def _dotted(session: RunSession, table: TableEntry) -> str:
    return str(Name(database=session.database, schema=table.schema, name=table.name))


_HANDLERS: dict[Kind, Callable[[RunSession, Statement, Name], Result]] = {
    Kind.INSERT: _edit,
    Kind.UPDATE: _edit,
    Kind.DELETE: _edit,
    Kind.MERGE: _edit,
    Kind.TRUNCATE: _edit,
    Kind.CREATE_TABLE: _create_table,
    Kind.CREATE_VIEW: _create_view,
    Kind.CREATE_MATERIALIZED: _create_table,
    Kind.CREATE_SCHEMA: _create_schema,
    Kind.DROP_TABLE: _drop,
    Kind.DROP_VIEW: _drop,
    Kind.DROP_MATERIALIZED: _drop,
    Kind.REFRESH: _refresh,
    Kind.DROP_SCHEMA: _drop_schema,
    Kind.DROP_FUNCTION: _drop,
    Kind.ALTER: _alter,
    Kind.COMMENT: _comment,
}
