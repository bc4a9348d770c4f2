"""The macros that stand for a function in DuckDB.

DuckDB has no functions in SQL but macros, whose arguments have no types. So each function is two of them: one that casts
arguments and result, under the function's name, and below it one with the body, under a name that nobody writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import duckdb

from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature, called, shown
from dbt.adapters.lakehouse.jobs.job import Job
from dbt.adapters.lakehouse.jobs.tokens import cut, tokenize
from dbt.adapters.lakehouse.quoting import quote

_BY_TEXT = ("HUGEINT", "UHUGEINT", "JSON", "UUID", "BIT", "BIGNUM", "VARINT", "ENUM", "TIME WITH TIME ZONE")
"""Types of which Arrow and DuckDB make different things: their values go to Python and come back as texts."""


def macros(database: str, schema: str, name: str, definition: Definition) -> Iterator[str]:
    """The statements that make a function; ``name`` ends with ``SUFFIX``."""
    place = f"{quote(database)}.{quote(schema)}"
    outer: list[str] = []
    for number, signature in enumerate(definition.signatures):
        inner = f"{place}.{quote(f'{name}{number or str()}')}"
        names = [quote(argument.name) for argument in signature.arguments]
        python = definition.language == "python"
        body = _of_python(definition, signature) if python else f"({_expression(signature.body)}\n)"
        yield f"CREATE OR REPLACE MACRO {inner}({', '.join(names)}) AS {body}"
        cast = [f"CAST({quote(a.name)} AS {a.type})" for a in signature.arguments]
        heads = ", ".join(
            _parameter(argument, typed=len(definition.signatures) > 1) for argument in signature.arguments
        )
        outer.append(f"({heads}) AS {_call(inner, names, cast, signature, scoped=has_scopes(definition))}")
    yield f"CREATE OR REPLACE MACRO {place}.{quote(called(name))}{', '.join(outer)}"


def drops(database: str, schema: str, name: str, count: int) -> Iterator[str]:
    """The statements that take away what ``macros`` made of ``count`` signatures."""
    place = f"{quote(database)}.{quote(schema)}"
    yield f"DROP MACRO IF EXISTS {place}.{quote(called(name))}"
    for number in range(count):
        yield f"DROP MACRO IF EXISTS {place}.{quote(f'{name}{number or str()}')}"


def _call(inner: str, names: list[str], cast: list[str], signature: Signature, *, scoped: bool) -> str:
    """The call of the macro with the body. DuckDB puts arguments into it as they are written: where the body has names of
    its own (of relations, of lambdas), they are computed outside of it, so that ``f(id)`` is not about an ``id`` in there.
    """
    if not (scoped and names):
        return f"CAST({inner}({', '.join(cast)}) AS {signature.returns})"
    given = [quote(f"__lakehouse_argument_{number}") for number in range(len(names))]
    columns = ", ".join(f"{value} AS {name}" for value, name in zip(cast, given, strict=True))
    return f"(SELECT CAST({inner}({', '.join(given)}) AS {signature.returns}) FROM (SELECT {columns}))"


def has_scopes(definition: Definition) -> bool:
    """Whether the body of a scalar function in SQL may have names of its own, as far as its tokens tell."""
    if definition.language != "sql" or definition.type != "scalar":
        return False
    tokens = (token for signature in definition.signatures for token in tokenize(_expression(signature.body)))
    return any(token.word in ("select", "from", "values", "lambda") or token.text == "->" for token in tokens)


def _expression(body: str) -> str:
    """The expression that a body is, or a SELECT of nothing but an expression; any other query as it is.

    In a query of its own, DuckDB would compute ``count(*)`` as an argument in there, over its one row.
    """
    tokens = tokenize(body)
    if not tokens or tokens[0].word != "select":
        return body
    rest = tokens[1:-2] if len(tokens) > 4 and tokens[-2].word == "as" else tokens[1:]
    if not rest or any(token.word in _CLAUSES or token.text in (",", ";") for token in rest if token.depth == 0):
        return body
    if any(token.word in _SEVERAL_ROWS for token in rest):
        return body
    found = cut(body, rest[0].start, rest[-1].end)
    try:
        return found if len(duckdb.extract_statements(f"SELECT ({found}\n)")) == 1 else body
    except duckdb.Error:
        return body


# fmt: off
_CLAUSES = frozenset((
    "from", "where", "group", "having", "qualify", "window", "order", "limit", "offset",
    "fetch", "union", "except", "intersect", "distinct", "all", "using", "sample", "as",
))
# fmt: on
_SEVERAL_ROWS = ("unnest", "unlist", "generate_subscripts")


def _parameter(argument: Argument, *, typed: bool) -> str:
    # By types a call chooses among several signatures; of one alone, they would refuse what can be cast.
    kind = f" {argument.type}" if typed else ""
    default = f" := ({argument.default})" if argument.default is not None else ""
    return f"{quote(argument.name)}{kind}{default}"


def _of_python(definition: Definition, signature: Signature) -> str:
    """The call of the Python function. An aggregate gets the values of a group in a list, several arguments as a struct."""
    names = [quote(argument.name) for argument in signature.arguments]
    values = [_sent(name, argument.type) for name, argument in zip(names, signature.arguments, strict=True)]
    if definition.type == "aggregate":
        values = [f"list(struct_pack({', '.join(f'{n} := {v}' for n, v in zip(names, values, strict=True))}))"]
    return f"{quote(definition.native)}({', '.join(values or ['0'])})"


def _sent(value: str, kind: str) -> str:
    return f"CAST({value} AS VARCHAR)" if transport(kind) != kind else value


def transport(kind: str) -> str:
    """The type in which values of a type go to Python and come back."""
    return "VARCHAR" if kind.upper().startswith(_BY_TEXT) and not kind.endswith("]") else kind


def native_types(definition: Definition) -> tuple[list[str], str]:
    """What the Python function behind the macros takes and gives, in DuckDB's words."""
    signature = definition.signatures[0]
    takes = [transport(argument.type) for argument in signature.arguments]
    if definition.type == "aggregate":
        fields = ", ".join(f"{quote(a.name)} {kind}" for a, kind in zip(signature.arguments, takes, strict=True))
        takes = [f"STRUCT({fields})[]"]
    # One without arguments gets something all the same, which says for how many rows it is called.
    return takes or ["INTEGER"], transport(signature.returns)


def specification(definition: Definition) -> dict[str, Any]:
    """What ``function_runner`` needs to know of a function in Python."""
    signature = definition.signatures[0]
    return {
        "type": definition.type,
        "code": signature.body,
        "path": definition.path,
        "lines_before": min(definition.line, _MOST_LINES),
        "entry_point": definition.entry_point,
        "arguments": [argument.name for argument in signature.arguments],
        "types": [argument.type for argument in signature.arguments],
        "returns": signature.returns,
    }


_MOST_LINES = 100_000
_ABOUT_TYPES = ("Conversion Error", "does not support the supplied arguments", "Unimplemented type for cast")


@contextlib.contextmanager
def explaining(job: Job) -> Iterator[None]:
    """Where values or types do not fit, say what the job's functions take: DuckDB names no argument."""
    try:
        yield
    except SqlError as error:
        functions = [(f"{i.schema}.{i.name}", i.function.signatures) for i in job.inputs if i.function is not None]
        if type(error) is not SqlError or not functions or not any(word in str(error) for word in _ABOUT_TYPES):
            raise
        said = "; ".join(shown(name, signatures) for name, signatures in functions)
        raise SqlError(f"{error}\nIt calls {said}: arguments and results are cast to these types") from error
