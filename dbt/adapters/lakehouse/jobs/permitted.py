"""Which SQL the sandbox lets through, by its text: kinds of statements, functions, settings.

What a statement can reach is decided by the settings of the DuckDB that runs it (``sandbox``). Here is refused what those
settings do not stop, and what they would stop with a message that helps nobody. Table functions are let through by
name: one that is not known, of an extension perhaps, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb

from dbt.adapters.lakehouse.errors import SandboxError
from dbt.adapters.lakehouse.jobs.tokens import Token, split, tokenize

USER_SETTINGS = frozenset(
    {
        *("timezone", "calendar", "default_order", "default_null_order", "null_order"),
        *("default_collation", "preserve_insertion_order", "integer_division", "ieee_floating_point_ops"),
        *("old_implicit_casting", "order_by_non_integer_literal"),
        *("scalar_subquery_error_on_multiple_rows", "lambda_syntax", "pivot_limit"),
        *("pivot_filter_threshold", "prefer_range_joins", "ordered_aggregate_threshold"),
        *("nested_loop_join_threshold", "merge_join_threshold", "perfect_ht_threshold"),
        *("late_materialization_max_rows", "partitioned_write_max_open_files"),
        *("partitioned_write_flush_threshold", "disabled_optimizers", "explain_output"),
        *("enable_progress_bar", "enable_object_cache", "regex_match_operator"),
    }
)
"""Settings that a session may change: what they do ends at its own results."""

_READABLE_SETTINGS = USER_SETTINGS | {
    "threads",
    "worker_threads",
    "memory_limit",
    "max_memory",
    "schema",
    "search_path",
}

_TABLE_FUNCTIONS = frozenset(
    {
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"),
        *("summary", "histogram", "histogram_values", "query", "query_table", "test_all_types"),
        *("test_vector_types", "icu_calendar_names", "pg_timezone_names", "duckdb_columns"),
        *("duckdb_constraints", "duckdb_databases", "duckdb_dependencies", "duckdb_functions"),
        *("duckdb_indexes", "duckdb_keywords", "duckdb_memory", "duckdb_optimizers"),
        *("duckdb_prepared_statements", "duckdb_schemas", "duckdb_sequences", "duckdb_table_sample"),
        *("duckdb_tables", "duckdb_types", "duckdb_variables", "duckdb_views"),
        *("duckdb_coordinate_systems", "pragma_collations", "pragma_database_size", "pragma_platform"),
        *("pragma_show", "pragma_storage_info", "pragma_table_info", "pragma_user_agent"),
        *("pragma_version",),
    }
)
_READERS = re.compile(
    r"read_(csv|csv_auto|parquet|json|json_auto|json_objects|json_objects_auto|ndjson|ndjson_auto|ndjson_objects|text|blob"
    r"|xlsx|avro)|st_read|parquet_scan|parquet_\w*metadata|parquet_schema|parquet_bloom_probe|glob|sniff_csv"
    r"|(iceberg|delta)_scan|iceberg_(metadata|snapshots)"
)
"""Table functions that a model with ``external_access`` may call."""

_HIDDEN = frozenset(
    {
        *("duckdb_secrets", "which_secret", "duckdb_settings", "pg_settings", "duckdb_logs"),
        *("duckdb_logs_parsed", "duckdb_log_contexts", "duckdb_external_file_cache"),
        *("duckdb_temporary_files", "duckdb_extensions", "duckdb_profiling_settings"),
    }
)
"""Names, called or not, behind which is what the service is made of."""

_SCALARS = frozenset({"getenv", "write_log", "load_aws_credentials", "json_execute_serialized_sql"})
_SCALAR_FAMILIES = ("quack_", "http_get", "http_post", "http_head")
_PRAGMAS = frozenset(
    {
        *("table_info", "show", "show_tables", "show_tables_expanded", "show_databases", "collations"),
        *("database_list", "database_size", "functions", "platform", "storage_info", "user_agent"),
        *("version",),
    }
)
_CREATABLE = frozenset({"table", "view", "macro", "function", "type", "sequence", "index", "schema", "recursive"})
_SPACES = re.compile("[\u00a0\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]")
"""What DuckDB takes for white space beyond ASCII."""

_ABOUT = "in the sandbox, SQL reads its inputs and nothing else"
_DECLARE = (
    "a model that must read what is outside the lake declares `external_access: true`, and the operator of the service "
    "allows it by its `external_access` setting"
)
Type = duckdb.StatementType


_CHANGES = (Type.INSERT, Type.UPDATE, Type.DELETE, Type.MERGE_INTO)


def refusal(what: str, next_step: str = _DECLARE) -> SandboxError:
    """The error for something that the sandbox does not let through."""
    return SandboxError(f"{what} is refused: {_ABOUT}; {next_step}")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the text of SQL may hold. ``functions`` are the table functions that DuckDB has, ``outside`` lets files be read."""

    functions: frozenset[str]
    outside: bool = False

    def select(self, connection: duckdb.DuckDBPyConnection, sql: str, what: str = "the SQL of a model") -> None:
        """Let one SELECT through, so that it stays one wherever it is put in parentheses."""
        pieces = self._pieces(sql)
        if len(pieces) != 1:
            raise refusal(f"{what} that is {len(pieces)} statements", "write one SELECT; headers and hooks take others")
        _refuse_heads(pieces[0])
        kinds = _kinds(connection, pieces[0])
        # A PIVOT whose columns come from the data is taken apart by DuckDB into a type and a SELECT.
        if kinds[-1] != Type.SELECT or any(kind != Type.CREATE for kind in kinds[:-1]):
            raise refusal(f"{what} that is a {kinds[-1].name} statement", "write one SELECT")

    def change(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        """Let one statement through that changes rows of the table it is run on."""
        pieces = self._pieces(sql)
        if len(pieces) != 1:
            raise refusal(f"a change of rows that is {len(pieces)} statements", "write one after the other")
        kinds = _kinds(connection, pieces[0])
        if kinds == [Type.COPY] and self.outside:
            self._copy_from(pieces[0])
        elif Type.COPY in kinds:
            raise refusal("COPY of a file outside the lake", f"load it with `lakehouse import`, or: {_DECLARE}")
        elif kinds[-1] not in _CHANGES or any(kind != Type.CREATE for kind in kinds[:-1]):
            raise refusal(f"{_shown(pieces[0])} on a table of the lake", "write INSERT, UPDATE, DELETE or MERGE")

    def _copy_from(self, sql: str) -> None:
        words = [token.word for token in tokenize(sql) if token.depth == 0]
        if "to" in words or "from" not in words:
            raise refusal("COPY TO", "let a model write a table, and export it with `lakehouse export`")

    def expression(self, text: str, what: str) -> None:
        """Let an expression through that stays one in parentheses."""
        self._functions(text)
        tokens = tokenize(text)
        depth = [token.depth for token in tokens]
        closed = [token for token in tokens if token.text in (")", "]", "}")]
        if any(token.text == ";" for token in tokens) or any(token.depth < 0 for token in closed):
            raise refusal(f"{what} that is no expression: {text!r}", "write one expression")
        if depth and depth[-1] != 0:
            raise refusal(f"{what} with an open parenthesis: {text!r}", "close it")

    def statements(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        """Let a session's own SQL through, one statement or several."""
        for piece in self._pieces(sql):
            self._statement(connection, piece)

    def _pieces(self, sql: str) -> list[str]:
        self._functions(sql)
        return [piece for piece in split(sql) if tokenize(piece)]

    def _statement(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        tokens = tokenize(sql)
        words = [token.word for token in tokens]
        if words[0] in ("explain", "prepare"):
            self._statement(connection, _inner(sql, tokens))
            return
        if words[0] == "pragma":
            _pragma(tokens)
        _refuse_heads(sql)
        # DuckDB takes some statements apart: all of the parts count.
        kinds = _kinds(connection, sql)
        if any(kind not in _BY_KIND for kind in kinds):
            raise refusal(_shown(sql))
        _BY_KIND[kinds[-1]](tokens)

    def _functions(self, sql: str) -> None:
        """Refuse text that names what it may not call: as DuckDB reads it, and with its rarer spaces made plain."""
        for text in {sql, _SPACES.sub(" ", sql)}:
            tokens = tokenize(text)
            for index, token in enumerate(tokens):
                if token.is_name:
                    self._function(token, tokens[index + 1 : index + 5])

    def _function(self, token: Token, after: Sequence[Token]) -> None:
        name = _SPACES.sub("", token.name).lower()
        if name in _HIDDEN:
            raise refusal(f"{name}", "it shows what the service is made of; ask its operator")
        if not after or after[0].text != "(":
            return
        if name in ("query", "query_table"):
            self._query(name, after)
        elif name == "current_setting":
            _setting_read(after)
        elif name in self.functions and name not in _TABLE_FUNCTIONS:
            if not (self.outside and _READERS.fullmatch(name)):
                raise refusal(f"{name}()")
        elif name in _SCALARS or name.startswith(_SCALAR_FAMILIES):
            raise refusal(f"{name}()", "write the query without it")

    def _query(self, name: str, after: Sequence[Token]) -> None:
        """SQL in a string is SQL; one that is put together at run time would be known too late."""
        if len(after) < 3 or after[1].kind != "string_const" or after[2].text not in (")", ","):
            raise refusal(f"{name}() of anything but one text in quotes", "write the SQL itself")
        text = _string(after[1].text)
        if name == "query":
            self._functions(text)
        elif re.search(r"[/\\:*?]", text):
            raise refusal(f"query_table({text!r})", "give the name of a relation")


def _string(literal: str) -> str:
    """The text of a string literal. Of one with escapes, a connection of no consequence says what it means."""
    plain = re.fullmatch(r"'((?:[^']|'')*)'", literal)
    if plain is not None:
        return plain.group(1).replace("''", "'")
    with duckdb.connect() as connection:
        row = connection.execute(f"SELECT {literal}").fetchone()
    return str(row[0]) if row else ""


def _setting_read(after: Sequence[Token]) -> None:
    name = _string(after[1].text).lower() if len(after) > 2 and after[1].kind == "string_const" else ""
    if name not in _READABLE_SETTINGS or after[2].text != ")":
        raise refusal(f"current_setting of {name or 'a computed name'}", "ask the operator of the service")


def _kinds(connection: duckdb.DuckDBPyConnection, sql: str) -> list[duckdb.StatementType]:
    found = [statement.type for statement in connection.extract_statements(sql)]
    if not found:
        raise refusal("a statement that is none", "write a statement")
    return found


def _shown(sql: str) -> str:
    words = [token.text.upper() for token in tokenize(sql)[:2] if token.is_name]
    return " ".join(words) or "this statement"


def _inner(sql: str, tokens: Sequence[Token]) -> str:
    """The statement that EXPLAIN explains, or PREPARE keeps."""
    if tokens[0].word == "prepare":
        start = next((i + 1 for i, token in enumerate(tokens) if token.word == "as" and token.depth == 0), None)
    else:
        start = 2 if len(tokens) > 1 and tokens[1].word in ("analyze", "analyse") else 1
        if len(tokens) > 1 and tokens[1].text == "(" and tokens[2].word in ("format", "analyze", "analyse"):
            start = next((i + 1 for i, token in enumerate(tokens) if token.text == ")" and token.depth == 0), None)
    if start is None or start >= len(tokens):
        raise refusal(_shown(sql), "write the statement itself")
    return sql.encode()[tokens[start].start :].decode()


_HEADS = {
    "import": "IMPORT DATABASE",
    "checkpoint": "CHECKPOINT",
    "force": "FORCE",
}


def _refuse_heads(sql: str) -> None:
    """Refuse what DuckDB would act upon, or change into something else, as it parses it."""
    word = tokenize(sql)[0].word
    if word == "use":
        raise refusal("USE", "the target's schema is the default; name relations in full")
    if word in _HEADS:
        raise refusal(_HEADS[word])


def _pragma(tokens: Sequence[Token]) -> None:
    name = tokens[1].name.lower() if len(tokens) > 1 else ""
    if len(tokens) > 2 and tokens[2].text == "=":
        _set(tokens)
    elif name not in _PRAGMAS:
        raise refusal(f"PRAGMA {name}", "the operator of the service configures DuckDB")


def _set(tokens: Sequence[Token]) -> None:
    name, at = _setting(tokens), _name_at(tokens)
    if name is None:
        return
    if name in ("threads", "memory_limit", "max_memory", "worker_threads"):
        raise refusal(f"SET {name}", "give the model `cpus` or `memory` instead")
    if name not in USER_SETTINGS:
        raise refusal(
            f"SET {name}", "the operator of the service can set it for all (`settings` of its profile or configuration)"
        )
    if any(token.text in ("(", ")") for token in tokens[at + 1 :]):
        raise refusal(f"SET {name} to something computed", "write the value itself")


def _name_at(tokens: Sequence[Token]) -> int:
    words = [token.word for token in tokens]
    return 2 if len(words) > 2 and words[0] != "pragma" and words[1] in ("session", "local", "global") else 1


def _setting(tokens: Sequence[Token]) -> str | None:
    """The setting that a statement changes; None if it changes none."""
    words = [token.word for token in tokens]
    assigns = words[0] == "pragma" and len(words) > 2 and words[2] == "="
    at = _name_at(tokens)
    if not (assigns or words[0] in ("set", "reset")) or words[at : at + 1] == ["variable"]:
        return None
    if words[at : at + 2] == ["time", "zone"]:
        return "timezone"
    return tokens[at].name.lower() if len(tokens) > at else ""


def settings_in(sql: str) -> dict[str, str]:
    """The statements of a text that change settings, by the setting's name. Raises for one that a session may not change."""
    found = {}
    for statement in split(sql):
        tokens = tokenize(statement)
        name = _setting(tokens) if tokens else None
        if name is not None:
            _set(tokens)
            found[name] = statement
    return found


def others(sql: str) -> list[str]:
    """The statements of a text that change no settings."""
    pieces = [(tokenize(piece), piece) for piece in split(sql)]
    return [piece for tokens, piece in pieces if tokens and _setting(tokens) is None]


def _create(tokens: Sequence[Token]) -> None:
    words = [token.word for token in tokens[1:] if token.word not in _CREATE_ADJECTIVES]
    if not words or words[0] not in _CREATABLE:
        raise refusal(f"CREATE {words[0].upper() if words else ''}".strip())


_CREATE_ADJECTIVES = frozenset({"or", "replace", "temp", "temporary", "local", "unique"})


def _drop(tokens: Sequence[Token]) -> None:
    words = [token.word for token in tokens]
    if words[0] != "deallocate" and words[1] not in _CREATABLE:
        raise refusal(_shown(" ".join(words[:2])), "the session can drop what it created")


def _alter(tokens: Sequence[Token]) -> None:
    words = [token.word for token in tokens]
    place = 2 if words[0] == "comment" else 1
    if words[place] not in ("table", "view", "column", "sequence", "macro", "type", "index"):
        raise refusal(_shown(" ".join(words[:2])))


def _anything(tokens: Sequence[Token]) -> None:
    del tokens


_BY_KIND: dict[duckdb.StatementType, Callable[[Sequence[Token]], None]] = {
    Type.SELECT: _anything,
    Type.INSERT: _anything,
    Type.UPDATE: _anything,
    Type.DELETE: _anything,
    Type.MERGE_INTO: _anything,
    Type.EXECUTE: _anything,
    Type.TRANSACTION: _anything,
    Type.ANALYZE: _anything,
    Type.VACUUM: _anything,
    Type.CALL: _anything,
    Type.PREPARE: _anything,
    Type.CREATE: _create,
    Type.DROP: _drop,
    Type.ALTER: _alter,
    Type.SET: _set,
    Type.VARIABLE_SET: _set,
}
