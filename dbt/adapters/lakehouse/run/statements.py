"""What a SQL statement does to the lake: its kind, its target, what it reads.

Heads of statements are read from DuckDB's tokens; bodies (a query, a condition) are passed on to the letter, so nothing a
user wrote is ever rendered anew. What a SELECT reads comes from DuckDB's own parser.
"""

from __future__ import annotations

import enum
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from dbt.adapters.lakehouse.quoting import literal, quote
from dbt.adapters.lakehouse.run import catalog_sql
from dbt.adapters.lakehouse.run.syntax import in_one_form
from dbt.adapters.lakehouse.run.tokens import Token, called_chains, cut, name_chains, tokenize


class Kind(enum.Enum):
    """What a statement does. OTHER runs in the worker's own DuckDB and does not concern the lake.

    DEFINE (CREATE MACRO) does so too, but holds for the whole run. DATABASE is EXPORT and IMPORT DATABASE.
    """

    SELECT = enum.auto()
    INSERT = enum.auto()
    UPDATE = enum.auto()
    DELETE = enum.auto()
    MERGE = enum.auto()
    TRUNCATE = enum.auto()
    CREATE_TABLE = enum.auto()
    CREATE_VIEW = enum.auto()
    CREATE_MATERIALIZED = enum.auto()
    CREATE_SCHEMA = enum.auto()
    DROP_TABLE = enum.auto()
    DROP_VIEW = enum.auto()
    DROP_MATERIALIZED = enum.auto()
    REFRESH = enum.auto()
    DROP_SCHEMA = enum.auto()
    DROP_FUNCTION = enum.auto()
    ALTER = enum.auto()
    COMMENT = enum.auto()
    TRANSACTION = enum.auto()
    ROLLBACK = enum.auto()
    USE = enum.auto()
    DATABASE = enum.auto()
    DEFINE = enum.auto()
    OTHER = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A relation as a statement names it; parts it leaves out are empty."""

    database: str = ""
    schema: str = ""
    name: str = ""

    @classmethod
    def of(cls, chain: tuple[str, ...]) -> Reference:
        """From one, two or three names."""
        parts = ("", "", *chain)[-3:]
        return cls(database=parts[0], schema=parts[1], name=parts[2])


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement, taken apart as far as the lake needs it.

    ``body`` is the query of CREATE … AS; for ALTER and COMMENT what follows the target. ``where`` is the condition of an
    UPDATE or DELETE on one table alone; None when all its rows may be concerned. ``columns`` is the text of a column list
    (``CREATE TABLE t (…)``). ``clone_of`` is the source of ``CREATE TABLE t CLONE s``, this adapter's own addition. So are
    materialized views (CREATE_MATERIALIZED and so on), which are written as PostgreSQL has them.
    """

    kind: Kind
    sql: str
    target: Reference = Reference()
    alias: str | None = None
    body: str | None = None
    where: str | None = None
    columns: str | None = None
    or_replace: bool = False
    if_exists: bool = False
    if_not_exists: bool = False
    temporary: bool = False
    cascade: bool = False
    clone_of: Reference | None = None


_SELECT_WORDS = frozenset(
    {
        *("select", "from", "values", "(", "describe", "desc", "summarize", "show", "table", "explain"),
        *("pivot", "unpivot", "pivot_wider", "pivot_longer"),
    }
)
# Words without a meaning on a lake: a run is the transaction, and its files are not DuckDB's to tidy.
_TRANSACTION_WORDS = frozenset({"begin", "commit", "start", "end", "checkpoint", "vacuum", "analyze"})
_SCHEMA_SETTINGS = {"schema", "search_path"}
_WRITES = {"insert": Kind.INSERT, "update": Kind.UPDATE, "delete": Kind.DELETE, "merge": Kind.MERGE}


def parse(sql: str) -> Statement:
    """Take one statement apart. What it does not know is OTHER; it never raises on strange SQL."""
    tokens = tokenize(sql)
    if not tokens:
        return Statement(kind=Kind.OTHER, sql=sql)
    word = tokens[0].word
    if word == "with":
        return _parse_with(sql, tokens)
    if word in _SELECT_WORDS or (word == "pragma" and catalog_sql.only_looks(tokens)):
        return Statement(kind=Kind.SELECT, sql=sql)
    if word in _TRANSACTION_WORDS:
        return Statement(kind=Kind.TRANSACTION, sql=sql)
    if word in ("rollback", "abort"):
        return Statement(kind=Kind.ROLLBACK, sql=sql)
    if word == "use" or (word == "set" and _SCHEMA_SETTINGS & {token.word for token in tokens[1:3]}):
        return Statement(kind=Kind.USE, sql=sql)
    if word in ("export", "import") and len(tokens) > 1 and tokens[1].word == "database":
        return Statement(kind=Kind.DATABASE, sql=sql)
    known = _BY_WORD.get(word)
    return known(_Reader(sql, tokens)) if known is not None else Statement(kind=Kind.OTHER, sql=sql)


class _Reader:
    """Walks the head of a statement."""

    def __init__(self, sql: str, tokens: list[Token], at: int = 0) -> None:
        self.sql, self.tokens, self.at = sql, tokens, at

    def word(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index].word if index < len(self.tokens) else ""

    def take(self, *words: str) -> bool:
        """Pass these words if they come next."""
        if all(self.word(i) == word for i, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def name(self) -> Reference | None:
        """Pass a dotted name of up to three parts."""
        if self.at >= len(self.tokens) or not self.tokens[self.at].is_name:
            return None
        chain = [self.tokens[self.at].name]
        self.at += 1
        while self.word() == "." and self.at + 1 < len(self.tokens) and self.tokens[self.at + 1].is_name:
            chain.append(self.tokens[self.at + 1].name)
            self.at += 2
        return Reference.of(tuple(chain)) if len(chain) <= 3 else None

    def alias(self, *ends: str) -> str | None:
        """Pass ``[AS] alias``, unless one of the words comes that end the head."""
        had_as = self.take("as")
        if self.at < len(self.tokens) and self.tokens[self.at].is_name and (had_as or self.word() not in ends):
            self.at += 1
            return self.tokens[self.at - 1].name
        return None

    def rest(self) -> str:
        """All that follows."""
        return cut(self.sql, self.tokens[self.at].start) if self.at < len(self.tokens) else ""

    def skip_parentheses(self) -> str:
        """Pass a parenthesis with all it holds; its text without the outer pair."""
        opening = self.tokens[self.at]
        self.at += 1
        while self.at < len(self.tokens) and self.tokens[self.at].depth > opening.depth:
            self.at += 1
        text = cut(self.sql, opening.end, self.tokens[self.at].start) if self.at < len(self.tokens) else ""
        self.at += 1
        return text

    def top_level(self) -> Iterator[tuple[int, Token]]:
        """The tokens from here on that stand outside of parentheses."""
        depth = self.tokens[0].depth
        return ((i, t) for i, t in enumerate(self.tokens[self.at :], self.at) if t.depth == depth)


def _parse_with(sql: str, tokens: list[Token]) -> Statement:
    """WITH may begin a SELECT or a write; in a write the CTEs may feed any part, so nothing is cut out of it."""
    previous = ""
    for index, token in enumerate(tokens[1:], 1):
        if token.depth == 0 and token.word in _WRITES and previous == ")":
            statement = _parse_write(_Reader(sql, tokens, index))
            return Statement(kind=statement.kind, sql=sql, target=statement.target, alias=statement.alias)
        if token.depth == 0 and token.word in ("select", "from", "values"):
            break
        previous = token.text
    return Statement(kind=Kind.SELECT, sql=sql)


def _parse_write(reader: _Reader) -> Statement:
    word = reader.word()
    reader.at += 1
    if word == "truncate":
        reader.take("table")
        target = reader.name()
        return _on(Kind.TRUNCATE, reader, target)
    if word == "insert":
        if reader.take("or"):
            # A table of the lake has no index that could clash, so these are plain inserts that DuckDB itself explains.
            reader.at += 1
        reader.take("into")
        return _on(Kind.INSERT, reader, reader.name())
    if word == "update":
        target = reader.name()
        alias = reader.alias("set")
        return _on(Kind.UPDATE, reader, target, alias, _condition(reader, "from"))
    if word == "delete":
        reader.take("from")
        target = reader.name()
        alias = reader.alias("using", "where", "returning")
        return _on(Kind.DELETE, reader, target, alias, _condition(reader, "using"))
    reader.take("into")
    target = reader.name()
    return _on(Kind.MERGE, reader, target, reader.alias("using"))


def _parse_copy(reader: _Reader) -> Statement:
    """``COPY t FROM 'file'`` inserts; ``COPY … TO`` only reads."""
    reader.at += 1
    target = reader.name()
    if target is not None and reader.word() == "(":
        reader.skip_parentheses()
    return _on(Kind.INSERT, reader, target if reader.word() == "from" else None)


def _on(
    kind: Kind, reader: _Reader, target: Reference | None, alias: str | None = None, where: str | None = None
) -> Statement:
    if target is None:
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    return Statement(kind=kind, sql=reader.sql, target=target, alias=alias, where=where)


def _condition(reader: _Reader, joins: str) -> str | None:
    """The WHERE condition to the letter, if the statement reads no second relation (``joins``)."""
    where: int | None = None
    end: int | None = None
    for _, token in reader.top_level():
        if token.word == joins:
            return None
        if token.word == "where" and where is None:
            where = token.end
        if token.word == "returning":
            end = token.start
    return None if where is None else cut(reader.sql, where, end).strip()


def _parse_create(reader: _Reader) -> Statement:
    reader.at += 1
    or_replace = reader.take("or", "replace")
    temporary = reader.take("temp") or reader.take("temporary") or reader.take("local", "temporary")
    word = reader.word()
    kind = {"table": Kind.CREATE_TABLE, "view": Kind.CREATE_VIEW, "schema": Kind.CREATE_SCHEMA}.get(word)
    if word == "materialized" and reader.word(1) == "view" and not temporary:
        reader.at += 1
        kind = Kind.CREATE_MATERIALIZED
    if word in ("macro", "function") and not temporary:
        # Other workers repeat it, and may have done so before.
        again = "CREATE OR REPLACE " + cut(reader.sql, reader.tokens[reader.at].start)
        return Statement(kind=Kind.DEFINE, sql=reader.sql, body=again)
    if kind is None:
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    reader.at += 1
    if_not_exists = reader.take("if", "not", "exists")
    target = reader.name()
    if target is None:
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    clone_of = reader.name() if reader.take("clone") else None
    columns = reader.skip_parentheses() if reader.word() == "(" else None
    body = reader.rest() if reader.take("as") else None
    return Statement(
        kind=kind,
        sql=reader.sql,
        target=target,
        body=body,
        columns=columns,
        or_replace=or_replace,
        if_not_exists=if_not_exists,
        temporary=temporary,
        clone_of=clone_of,
    )


def _parse_drop(reader: _Reader) -> Statement:
    reader.at += 1
    kinds = {
        "table": Kind.DROP_TABLE,
        "view": Kind.DROP_VIEW,
        "schema": Kind.DROP_SCHEMA,
        "function": Kind.DROP_FUNCTION,
    }
    materialized = reader.word() == "materialized" and reader.word(1) == "view"
    reader.at += materialized
    kind = Kind.DROP_MATERIALIZED if materialized else kinds.get(reader.word())
    if kind is None:
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    reader.at += 1
    if_exists = reader.take("if", "exists")
    target = reader.name()
    if target is None:
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    cascade = reader.take("cascade")
    if reader.word() == ",":
        # DuckDB itself refuses to drop two at once; to drop the first alone would be worse.
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    return Statement(kind=kind, sql=reader.sql, target=target, if_exists=if_exists, cascade=cascade)


def _parse_refresh(reader: _Reader) -> Statement:
    reader.at += 1
    if not reader.take("materialized", "view"):
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    reader.take("concurrently")
    target = reader.name()
    reader.take("with", "data")
    return _on(Kind.REFRESH, reader, None if reader.rest() else target)


def _parse_alter(reader: _Reader) -> Statement:
    reader.at += 1
    reader.at += reader.word() == "materialized" and reader.word(1) == "view"
    word = reader.word()
    if word not in ("table", "view"):
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    reader.at += 1
    if_exists = reader.take("if", "exists")
    target = reader.name()
    if target is None:
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    return Statement(kind=Kind.ALTER, sql=reader.sql, target=target, body=reader.rest(), if_exists=if_exists)


def _parse_comment(reader: _Reader) -> Statement:
    reader.at += 1
    reader.take("on")
    reader.at += reader.word() == "materialized" and reader.word(1) == "view"
    word = reader.word()
    if word not in ("table", "view", "column"):
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    reader.at += 1
    chain: list[str] = []
    while reader.at < len(reader.tokens) and reader.tokens[reader.at].is_name and reader.word() != "is":
        chain.append(reader.tokens[reader.at].name)
        reader.at += 1
        reader.take(".")
    column = chain.pop() if word == "column" and chain else None
    reader.take("is")
    if not chain or len(chain) > 3:
        return Statement(kind=Kind.OTHER, sql=reader.sql)
    return Statement(
        kind=Kind.COMMENT,
        sql=reader.sql,
        target=Reference.of(tuple(chain)),
        body=reader.rest(),
        columns=column,
    )


_BY_WORD: dict[str, Callable[[_Reader], Statement]] = {
    **dict.fromkeys((*_WRITES, "truncate"), _parse_write),
    "copy": _parse_copy,
    "create": _parse_create,
    "drop": _parse_drop,
    "alter": _parse_alter,
    "comment": _parse_comment,
    "refresh": _parse_refresh,
}


# What a statement reads.

_parsers = threading.local()

LONGEST_TREE = 1 << 20
"""Texts with more characters are told apart by their tokens alone: the tree of a list of values has eight times its size."""


def syntax_tree(sql: str) -> dict[str, Any]:
    """DuckDB's syntax tree of a SELECT; of anything else, a tree that says ``error``."""
    if "\0" in sql:  # DuckDB's texts end there, and so would the literal; as a statement it is refused
        return {"error": True}
    return in_one_form(_syntax(sql))


@functools.lru_cache(maxsize=64)
def _syntax(sql: str) -> str:
    """A syntax tree as DuckDB says it; who asks what a statement reads mostly asks for its normal form as well."""
    # A literal, since a parameter makes DuckDB import pandas to see whether it is a frame.
    found = parser().execute(f"SELECT json_serialize_sql({literal(sql)})").fetchone()
    return str(found[0]) if found else '{"error": true}'


def parser() -> duckdb.DuckDBPyConnection:
    """This thread's own DuckDB, empty, for questions about SQL."""
    own: _Parser | None = getattr(_parsers, "own", None)
    if own is None:
        own = _parsers.own = _Parser()
    return own.connection


_free: list[duckdb.DuckDBPyConnection] = []


class _Parser:
    """A DuckDB for as long as a thread lives; the next one has it then.

    It does not end with the thread: dbt does not wait for one whose error ends the command, and where DuckDB ends in a
    thread while Python does, the process is aborted.
    """

    def __init__(self) -> None:
        try:
            self.connection = _free.pop()
        except IndexError:
            self.connection = duckdb.connect(":memory:")
            # In a program that is no file, DuckDB would print one.
            self.connection.execute("SET enable_progress_bar = false")

    def __del__(self, free: list[duckdb.DuckDBPyConnection] = _free) -> None:
        if hasattr(self, "connection"):
            free.append(self.connection)


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What a statement may read: relations, and whether it asks for the catalog itself (``information_schema``).

    ``exact`` says that DuckDB's parser named the relations; otherwise they are all names that could be one. ``functions``
    are what it calls, DuckDB's own among them, ``over_groups`` those with a window function, or an aggregate of no column, in
    an argument.
    """

    relations: frozenset[Reference]
    catalog: bool
    exact: bool
    functions: frozenset[Reference] = frozenset()
    over_groups: frozenset[Reference] = frozenset()


Rename = Callable[[Reference], tuple[str, str, str] | None]


def requalify(sql: str, rename: Rename, rename_function: Rename = lambda _: None) -> str:
    """A SELECT with relations named in full: ``rename`` gives the new name of each, or None to leave it as it stands.

    So does ``rename_function`` of what it calls.
    Names of CTEs are left alone. What DuckDB's parser does not take (PIVOT) is returned as it is.
    """
    tree = syntax_tree(sql)
    if tree.get("error"):
        return sql
    nodes = list(walk(tree))
    ctes = {str(item["key"]).lower() for node in nodes for item in (node.get("cte_map") or {}).get("map", ())}
    tokens = tokenize(sql)
    at = {token.start: index for index, token in enumerate(tokens)}
    edits: list[tuple[int, int, str]] = []
    for node in nodes:
        first = at.get(node.get("query_location", -1))
        if first is None:
            continue
        if node.get("type") == "BASE_TABLE":
            reference = Reference(database=node["catalog_name"], schema=node["schema_name"], name=node["table_name"])
            short = not (reference.database and reference.schema)
            new = None if short and reference.name.lower() in ctes else rename(reference)
            # Columns may be named by the short form of the relation, which the long form would no longer answer to.
            alias = f" AS {quote(reference.name)}" if short and not node.get("alias") else ""
            width = bool(reference.database) + bool(reference.schema)
        elif node.get("type") == "COLUMN_REF" and len(node["column_names"]) > 3:
            new, alias, width = rename(Reference.of(tuple(node["column_names"][:3]))), "", 2
        elif node.get("function_name") and not node.get("is_operator"):
            reference = _function(node)
            width, alias = bool(reference.database) + bool(reference.schema), ""
            last = tokens[first + 2 * width] if first + 2 * width < len(tokens) else tokens[first]
            # ``x.f()`` calls f with x: then the name does not stand where it seems to.
            new = rename_function(reference) if last.name.lower() == reference.name.lower() else None
        else:
            continue
        if new is not None:
            edits.append((tokens[first].start, tokens[first + 2 * width].end, ".".join(map(quote, new)) + alias))
    raw = sql.encode()
    for start, end, text_in_full in sorted(edits, reverse=True):
        raw = raw[:start] + text_in_full.encode() + raw[end:]
    return raw.decode()


@functools.cache
def _volatile_functions() -> frozenset[str]:
    rows = parser().execute("SELECT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'").fetchall()
    return frozenset({row[0] for row in rows} | {"sample", "tablesample", "limit"})


def is_volatile(condition: str) -> bool:
    """Whether a condition may pick other rows when it is evaluated a second time."""
    return any(token.name.lower() in _volatile_functions() for token in tokenize(condition) if token.is_name)


def hides_reads(sql: str, definitions: Iterable[str]) -> bool:
    """Whether a statement calls what may read relations unseen: a macro that was defined here, ``query``, ``query_table``."""
    names = {"query", "query_table"}
    for definition in definitions:
        tokens = tokenize(definition)
        for index, token in enumerate(tokens):
            if token.word in ("macro", "function"):
                names.update(part.name.lower() for part in tokens[index + 1 : index + 9] if part.is_name)
                break
    return any(token.is_name and token.name.lower() in names for token in tokenize(sql))


@functools.lru_cache(maxsize=4096)
def reads(sql: str) -> Reads:
    """What a statement reads. Exact for SELECT, a superset for everything else."""
    try:
        return _named(sql)
    except RecursionError:  # thousands of types or lists within each other
        return _guess(sql)


def _named(sql: str) -> Reads:
    """What DuckDB's parser says of a SELECT."""
    if len(sql) > LONGEST_TREE:
        return _guess(sql)
    tree = syntax_tree(sql)
    if tree.get("error"):
        return _guess(sql)
    relations = {Reference.of(chain) for chain in catalog_sql.named_in_texts(sql)}
    functions: set[Reference] = set()
    over_groups: set[Reference] = set()
    catalog = False
    for node in walk(tree):
        if node.get("function_name") and not node.get("is_operator"):
            functions.add(_function(node))
            if (node.get("schema") or node["function_name"].lower() not in _builtin()) and _is_over_group(node):
                over_groups.add(_function(node))
        if node.get("type") == "BASE_TABLE":
            reference = Reference(
                database=node.get("catalog_name", ""), schema=node.get("schema_name", ""), name=node["table_name"]
            )
            catalog = catalog or catalog_sql.is_catalog(reference.schema, reference.name)
            relations.add(reference)
        elif node.get("type") == "FUNCTION" and node.get("function_name") in catalog_sql.FUNCTIONS:
            catalog = True
        elif node.get("type") == "SHOW_REF" and node.get("query") is None:
            # SHOW TABLES and its like; DESCRIBE of a relation carries a query, which is walked like any other.
            catalog = True
            relations.add(Reference(database=node.get("catalog_name", ""), schema="information_schema", name="tables"))
    return Reads(
        relations=frozenset(relations),
        catalog=catalog,
        exact=True,
        functions=frozenset(functions),
        over_groups=frozenset(over_groups),
    )


@functools.cache
def _builtin() -> dict[str, bool]:
    """The names of DuckDB's functions, and which of them are aggregates."""
    rows = parser().execute(
        "SELECT lower(function_name), bool_or(function_type = 'aggregate') FROM duckdb_functions() GROUP BY ALL"
    )
    return dict(rows.fetchall())


def _is_over_group(call: dict[str, Any]) -> bool:
    """Whether an argument is of several rows of the query around the call, and no column in it says of which query."""
    return any(
        inner.get("class") == "WINDOW"
        or (
            inner.get("type") == "FUNCTION"
            and _builtin().get(inner["function_name"].lower(), False)
            and not any(one.get("type") == "COLUMN_REF" for one in _beside_queries(inner["children"]))
        )
        for inner in _beside_queries(call.get("children"))
    )


def _beside_queries(node: Any) -> Iterator[dict[str, Any]]:
    """All nodes of an expression, without those of queries in it."""
    if isinstance(node, dict) and node.get("class") != "SUBQUERY":
        yield node
        for value in node.values():
            yield from _beside_queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from _beside_queries(value)


def _function(node: dict[str, Any]) -> Reference:
    return Reference(database=node.get("catalog", ""), schema=node.get("schema", ""), name=node["function_name"])


def _guess(sql: str) -> Reads:
    tokens = tokenize(sql)
    chains = name_chains(tokens)
    references = frozenset(Reference.of(chain) for chain in chains | catalog_sql.named_in_texts(sql))
    functions = frozenset(Reference.of(chain) for chain in called_chains(tokens))
    words = {part.lower() for chain in chains for part in chain}
    catalog = any(catalog_sql.is_catalog(word, word) for word in words)
    return Reads(relations=references, catalog=catalog, exact=False, functions=functions)


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """All nodes of a syntax tree."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)
