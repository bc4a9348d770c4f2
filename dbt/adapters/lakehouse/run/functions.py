"""Functions of the lake: which one a call means, what its body reads, and how it comes to stand on a run's branch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog.model import FunctionEntry, Key, TableEntry, ViewEntry
from dbt.adapters.lakehouse.errors import ConfigError, SqlError
from dbt.adapters.lakehouse.jobs.function import SUFFIX, Definition, Signature, called
from dbt.adapters.lakehouse.jobs.job import Describe, Input
from dbt.adapters.lakehouse.quoting import qualified, quote
from dbt.adapters.lakehouse.run.catalog_sql import is_catalog
from dbt.adapters.lakehouse.run.statements import Reference, parser, reads, requalify, syntax_tree, walk
from dbt.adapters.lakehouse.run.values import Build, Built, Function, Name, PythonSource, Reused

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.inputs import InputPlanner
    from dbt.adapters.lakehouse.run.session import RunSession
    from dbt.adapters.lakehouse.run.state import State

__all__ = ["added", "at", "called", "create", "find", "is_builtin", "reads_relations", "refuse_name", "source", "texts"]

_BUILTIN: set[str] = set()


# which one


def find(
    state: State, reference: Reference, database: str, default_schema: str, *, beneath: bool = False
) -> tuple[str, FunctionEntry] | None:
    """The function that a call means, with the database that it is of: ``database`` unless the call names another.

    A name alone means the default schema's, but for names of DuckDB's own functions. ``beneath``: see ``State.beneath``.
    """
    get = state.beneath if beneath else state.get
    own = reference.database or database
    if reference.schema and state.snapshot(own) is not None:
        entry = get(Name(database=own, schema=reference.schema, name=reference.name + SUFFIX))
        if isinstance(entry, FunctionEntry):
            return own, entry
    # ``x.f()`` is a call of f with x.
    if reference.database or is_builtin(reference.name):
        return None
    entry = get(Name(database=database, schema=default_schema, name=reference.name + SUFFIX))
    return (database, entry) if isinstance(entry, FunctionEntry) else None


def is_builtin(name: str) -> bool:
    """Whether DuckDB has a function of that name."""
    if not _BUILTIN:
        rows = (
            parser().execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE internal").fetchall()
        )
        _BUILTIN.update(row[0] for row in rows)
    return name.lower() in _BUILTIN


# what it is made of


def texts(definition: Definition) -> Iterator[str]:
    """The SQL of a function, as SELECTs."""
    for signature in definition.signatures:
        if definition.language == "sql":
            yield _as_select(signature.body)
        for argument in signature.arguments:
            if argument.default is not None:
                yield _as_select(argument.default)


def at(definition: Definition, there: Callable[[str], str]) -> Definition:
    """The function as it is written where ``there`` says what a SELECT is."""
    if definition.language != "sql":
        return definition

    def moved(signature: Signature) -> Signature:
        return dataclasses.replace(signature, body=_as_body(there(_as_select(signature.body))))

    return dataclasses.replace(definition, signatures=tuple(map(moved, definition.signatures)))


def reads_relations(definition: Definition) -> bool:
    """Whether the body of a function names relations of its own."""
    return any(reads(text).relations for text in texts(definition))


def source(definition: Definition) -> PythonSource:
    """The code of a function in Python as that of a model."""
    return PythonSource(
        code=definition.signatures[0].body,
        path=definition.path,
        line=definition.line,
        packages=definition.packages,
        python_version=definition.python_version,
    )


def added(inputs: tuple[Input, ...], planner: InputPlanner, texts: Iterable[str]) -> tuple[Input, ...]:
    """The inputs, and the functions that other texts call, with all that those read."""
    known = {_place(item) for item in inputs}
    more = (item for text in texts for item in planner.called(reads(text)))
    return (*(item for item in dict.fromkeys(more) if _place(item) not in known), *inputs)


def in_python(build: Build) -> tuple[str, ...]:
    """The texts in a Python model's code that may be SQL."""
    if build.python is None:
        return ()
    # Imported late: few builds need it.
    from dbt.adapters.lakehouse.run import python_parts

    return tuple(python_parts.look_at(build.python, build.name.name).sql)


def relations_in_python(build: Build) -> tuple[str, ...]:
    """A query of each relation that SQL in a Python model's code names with its schema; a name alone may be one of Python's."""
    seen = [known for known in map(reads, in_python(build)) if known.exact]
    named = {one for known in seen for one in known.relations if one.schema and not is_catalog(one.schema, one.name)}
    chains = sorted((one.database, one.schema, one.name) for one in named)
    return tuple(f"SELECT * FROM {'.'.join(quote(part) for part in chain if part)}" for chain in chains)


_BEFORE, _AFTER = "SELECT (", "\n)"


def _as_select(body: str) -> str:
    return f"{_BEFORE}{body}{_AFTER}"


def _as_body(select: str) -> str:
    return select.removeprefix(_BEFORE).removesuffix(_AFTER)


def refuse_name(name: Name) -> None:
    """Raise for the name of a relation that functions have."""
    if name.name.endswith(SUFFIX):
        raise ConfigError(f"{str(name)!r} is no name of a table or view: names that end with () are those of functions")


# making one


def create(session: RunSession, wish: Function, *, rebuild: bool = False) -> Built:
    """See ``lake.base.Session.create_function``."""
    _check_name(wish.name)
    run = session.writable(wish.name.database, str(wish.name))
    name = dataclasses.replace(wish.name, name=wish.name.name + SUFFIX)
    key = Key(name.schema, name.name)
    with session.locked(run, key):
        run.own()
        seen = {key: session.state.own.content(key)}
        current = session.state.own.get(key)
        if current is not None and not isinstance(current, FunctionEntry):
            raise SqlError(
                f"a {current.kind} is called {name}, which is how functions are filed; give one another name"
            )
        started = time.perf_counter()
        entry = _made(session, wish, name)
        if current == entry and not rebuild:
            return Built(entry=entry, reused=Reused(run=None, author="", seconds=0.0))
        provenance = {
            **wish.provenance,
            "node": wish.node,
            "mode": "function",
            "inputs": entry.inputs,
            "seconds": round(time.perf_counter() - started, 6),
        }
        run.commit([*session.schema_put(name.schema), (key, entry)], f"Create function {key}", provenance, seen=seen)
    return Built(entry=entry)


def _made(session: RunSession, wish: Function, name: Name) -> FunctionEntry:
    """The entry of a function that DuckDB takes. Raises ``SqlError`` for any other, ``FunctionError`` for Python code."""
    definition = at(_with_known_types(session, wish), lambda sql: requalify(sql, *_in_full(session)))
    if definition.type == "aggregate" and any(map(_has_from, texts(definition))):
        raise SqlError(
            f"function {wish.name} cannot be created: an aggregate knows nothing but its arguments; let what calls it join "
            "what else it takes"
        )
    inputs = session.inputs(*texts(definition))
    own = Input(database=session.database, schema=name.schema, name=name.name, function=definition)
    if any(_place(item) == _place(own) for item in inputs):
        raise SqlError(f"function {wish.name} would call itself; DuckDB knows no recursion but in WITH RECURSIVE")
    place = qualified(session.database, name.schema, wish.name.name)
    calls = (
        f"{place}({', '.join(f'CAST(NULL AS {argument.type})' for argument in signature.arguments)})"
        for signature in definition.signatures
    )
    terms = ", ".join(f"{call} AS r{number}" for number, call in enumerate(calls))
    try:
        session.submit(Describe(sql=f"SELECT {terms}"), (*inputs, own))
    except SqlError as error:
        raise type(error)(f"function {wish.name} cannot be created: {error}") from error
    return FunctionEntry(
        schema=name.schema,
        name=name.name,
        definition=definition,
        comment=wish.comment,
        node=wish.node,
        inputs=session.planner.keys(inputs),
    )


def _has_from(sql: str) -> bool:
    found = (node.get("from_table") for node in walk(syntax_tree(sql)))
    return any(isinstance(table, dict) and table.get("type") != "EMPTY" for table in found)


def _with_known_types(session: RunSession, wish: Function) -> Definition:
    """The definition with types in DuckDB's words."""
    signatures = []
    for signature in wish.definition.signatures:
        types = [*(argument.type for argument in signature.arguments), signature.returns]
        terms = ", ".join(f"CAST(NULL AS {kind}) AS t{number}" for number, kind in enumerate(types))
        try:
            found = [column.type for column in session.submit(Describe(sql=f"SELECT {terms}")).columns]
        except SqlError as error:
            said = ", ".join(types)
            raise type(error)(
                f"function {wish.name} cannot be created: one of its types ({said}) is none of DuckDB's: {error}"
            ) from error
        arguments = zip(signature.arguments, found[:-1], strict=True)
        known = tuple(dataclasses.replace(argument, type=kind) for argument, kind in arguments)
        signatures.append(dataclasses.replace(signature, arguments=known, returns=found[-1]))
    return dataclasses.replace(wish.definition, signatures=tuple(signatures))


def _in_full(session: RunSession) -> tuple[Callable[[Reference], tuple[str, str, str] | None], ...]:
    """What names in a body mean, wherever it will be called from."""

    def relation(reference: Reference) -> tuple[str, str, str] | None:
        name = session.planner.resolve(reference)
        if name is None or (reference.database and reference.schema):
            return None
        entry = session.state.get(name)
        return (name.database, name.schema, name.name) if isinstance(entry, TableEntry | ViewEntry) else None

    def function(reference: Reference) -> tuple[str, str, str] | None:
        found = session.planner.function(reference)
        if found is None or (reference.database and reference.schema):
            return None
        return found[0], found[1].schema, called(found[1].name)

    return relation, function


def _place(item: Input) -> tuple[str, str, str]:
    return item.database.lower(), item.schema.lower(), item.name.lower()


def _check_name(name: Name) -> None:
    for part in (name.schema, name.name):
        if not part or "\0" in part:
            raise ConfigError(
                f"{str(name)!r} is no name of a function: each part of it needs characters, and none of them null"
            )
    if is_builtin(name.name):
        raise ConfigError(
            f"function {name} would be called like DuckDB's own {name.name}(), and {quote(name.name)}(…) without a schema mean "
            "either; give it another name (config: alias)"
        )
