"""Databases beside the lake that a profile names in ``attach``: jobs that name one read it, and no job writes to it.

They are attached when a job first names them, and let go when its session ends: a file is not kept from its writer any longer,
and a server's tables are seen as they then are. What reaches them may hold a password, which no message shows.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError, JobError, LakehouseError, Unattached
from dbt.adapters.lakehouse.settings import Attachment

if TYPE_CHECKING:
    import duckdb

FILES = ("duckdb", "sqlite")
"""Types whose databases are files, unless their path is a URL."""

_EXTENSIONS = {
    "sqlite": "sqlite_scanner",
    "postgres": "postgres_scanner",
    "mysql": "mysql_scanner",
    "ducklake": "ducklake",
    "iceberg": "iceberg",
}
_PREFIX = re.compile(r"\A(sqlite|postgres|mysql|ducklake|md|motherduck):(?!//)", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]*")
_RESERVED = frozenset({"memory", "system", "temp", "main"})
_KEYS = ("path", "alias", "type", "secret", "read_only", "options", "is_ducklake")
_HELD = frozenset({"type", "secret", "read_only"})


# The profile's key


def check_attach(key: str, said: object) -> None:
    """Raise ``ConfigError`` unless this is a list of databases to attach. Paths and options are not shown: they hold secrets."""
    if not isinstance(said, list | tuple):
        raise ConfigError(f"profile key {key!r} is no list; write [{{path: crm.duckdb, alias: crm}}]")
    seen: set[str] = set()
    for number, entry in enumerate(said, 1):
        fault = _fault(entry)
        if not fault:
            alias = _alias(entry)
            fault = f"the alias {alias!r} is there twice" if alias.lower() in seen else ""
            seen.add(alias.lower())
        if fault:
            raise ConfigError(f"profile key {key!r}: {fault} (in entry {number} of the list)")


def _fault(entry: object) -> str:
    if not isinstance(entry, Mapping):
        return "an entry is a mapping: {path: crm.duckdb, alias: crm}"
    unknown = [str(word) for word in entry if word not in _KEYS]
    if unknown:
        return f"{unknown[0]!r} is not known; these are: {', '.join(_KEYS)}"
    options = entry.get("options") or {}
    if not isinstance(options, Mapping) or not all(
        isinstance(name, str) and re.fullmatch(r"\w+", name) and (value is None or isinstance(value, str | int | float))
        for name, value in options.items()
    ):
        return "its 'options' must be names with texts, numbers, true or false"
    twice = [word for word in sorted(_HELD) if entry.get(word) and word in options]
    if twice:
        return f"{twice[0]!r} stands beside 'options' and within; keep one of the two"
    if not isinstance(entry.get("path"), str):
        return "it has no 'path': a file, or what says how a server is reached"
    for word, value in (("type", _said(entry, "type")), ("secret", _said(entry, "secret"))):
        if value is not None and not (isinstance(value, str) and re.fullmatch(r"\w+", value)):
            return f"its {word!r} must be a name"
    if _type(entry) in ("md", "motherduck"):
        return (
            "MotherDuck's databases are not attached here; copy the tables that are wanted to a DuckDB file, and attach that, "
            "or load them with `lakehouse import`"
        )
    if (address := _URL.search(entry["path"])) and entry["path"][address.end() :].partition("/")[0].count("@") > 1:
        return "its 'path' has more than one '@'; within a password it is written as %40"
    if not entry["path"].strip() and _said(entry, "secret") is None:
        return "its 'path' is empty, which works with a 'secret' alone"
    return _wrong_alias(entry)


def _wrong_alias(entry: Mapping[str, Any]) -> str:
    alias = _alias(entry)
    if not alias:
        return "it needs an 'alias', the name it has in SQL"
    if not _ALIAS.fullmatch(alias):
        return f"the alias {alias!r} must be of letters, digits, '_', '-' and '$'; write another one as 'alias'"
    if alias.lower() in _RESERVED:
        return f"the alias {alias!r} is a name that DuckDB keeps to itself; choose another"
    return ""


def attachments(said: Iterable[Mapping[str, Any]], folder: Path, database: str) -> tuple[Attachment, ...]:
    """The databases of a profile, whose relative paths start at ``folder``; ``database`` is the lake's own name."""
    found = []
    for entry in said:
        alias, kind = _alias(entry), _type(entry)
        if alias.lower() == database.lower():
            raise ConfigError(
                f"profile key 'attach': the alias {alias!r} is the lake's own name; choose another, or another 'database'"
            )
        options = {name: value for name, value in (entry.get("options") or {}).items() if name not in _HELD}
        path = _path(entry["path"], kind, folder)
        found.append(Attachment(alias=alias, type=kind, path=path, secret=_said(entry, "secret"), options=options))
    return tuple(found)


def _said(entry: Mapping[str, Any], word: str) -> Any:
    return entry.get(word) or (entry.get("options") or {}).get(word)


def _type(entry: Mapping[str, Any]) -> str:
    said = _said(entry, "type")
    prefix = _PREFIX.match(entry["path"])
    if said is None and prefix is not None:
        return prefix[1].lower()
    if said is None and entry["path"].startswith(("postgres://", "postgresql://", "mysql://")):
        return "mysql" if entry["path"].startswith("mysql") else "postgres"
    return "ducklake" if said is None and entry.get("is_ducklake") else str(said or "duckdb").lower()


def _alias(entry: Mapping[str, Any]) -> str:
    """The name in SQL: as it is said, or for a file, what DuckDB would call it."""
    alias = entry.get("alias")
    if alias is not None:
        return str(alias)
    path = _PREFIX.sub("", entry["path"])
    return Path(path).name.partition(".")[0] if _type(entry) in (*FILES, "ducklake") and "=" not in path else ""


def _path(path: str, kind: str, folder: Path) -> str:
    """The path as it is attached: that of a file in full."""
    plain = _PREFIX.sub("", path)
    if kind in FILES and not _URL.match(plain):
        return str((folder / Path(plain).expanduser()).absolute())
    if kind == "ducklake":
        # Its catalog may be a file, or in a database: ducklake:postgres:dbname=…
        file = not (_URL.match(plain) or _PREFIX.match(plain) or "=" in plain)
        return "ducklake:" + (str((folder / Path(plain).expanduser()).absolute()) if file else plain)
    return plain


# In a worker


def attach(connection: duckdb.DuckDBPyConnection, one: Attachment) -> None:
    """Attach a database to a DuckDB, read-only. Raises ``Unattached``, ``ConfigError``."""
    import duckdb

    # Imported late: it is of the layer's other side.
    from dbt.adapters.lakehouse.jobs.instance import load_extension
    from dbt.adapters.lakehouse.quoting import literal, quote

    fault = _missing(one)
    if fault:
        raise Unattached(fault)
    if one.type in _EXTENSIONS:
        load_extension(connection, _EXTENSIONS[one.type])
    words = [] if one.type in ("duckdb", "ducklake") else [f"TYPE {one.type}"]
    words += ["READ_ONLY", *([f"SECRET {quote(one.secret)}"] if one.secret else [])]
    for name, value in one.options.items():
        if isinstance(value, bool):
            words += [name] if value else []
        elif value is not None:
            words.append(f"{name} {literal(_bare(value)) if isinstance(value, str) else value}")
    try:
        connection.execute(f"ATTACH {literal(one.path)} AS {quote(one.alias)} ({', '.join(words)})")
    except duckdb.Error as error:
        raise Unattached(_refused(one, error)) from None


def _bare(value: str) -> str:
    """A text without the quotes that dbt-duckdb lets one write in it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def file_of(one: Attachment) -> Path | None:
    """The file on this machine that an attached database is."""
    return Path(one.path) if one.type in FILES and not _URL.match(one.path) else None


def _missing(one: Attachment) -> str:
    file = file_of(one)
    if file is None or file.exists():
        return ""
    return f"{_called(one)} cannot be attached: there is no file {file}; relative paths start at the project's folder"


def _refused(one: Attachment, error: Exception) -> str:
    why = masked(str(error), (one,)).strip()
    hint = "look at its `path` and `type` in the profile's `attach`"
    if "lock" in why:
        hint = (
            "a process has it open for writing, and DuckDB lets nobody read it meanwhile; run again when that is done, or "
            "attach a copy"
        )
    elif re.search("authentication|Access denied|no password supplied", why):
        hint = "look at user and password in the profile's `attach`, or at its secret"
    elif "onnect" in why:
        hint = "is the server up, and its address right?"
    return f"{_called(one)} cannot be attached: {why}; {hint}"


def _called(one: Attachment) -> str:
    return f"database {one.alias!r} ({one.type})"


# Passwords


_IN_TEXT = re.compile(
    r"(?i)\b(password|passwd|pwd|passphrase|token|encryption_key)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s;\"']+)"
)
_IN_URL = re.compile(r"(://[^:/@\s\"']*):[^@\s\"']*@")


def masked(message: str, attached: Iterable[Attachment]) -> str:
    """A message without the passwords of attached databases."""
    for one in attached:
        for secret in _secrets(one):
            # What is shorter stands in words as well; after its name it is found below.
            message = message.replace(secret, "…") if len(secret) > 3 else message
    return _IN_URL.sub(r"\1:…@", _IN_TEXT.sub(r"\1=…", message))


def _secrets(one: Attachment) -> Iterator[str]:
    if file_of(one) is None:
        yield from (found[2].strip("'") for found in _IN_TEXT.finditer(one.path))
        yield from (found[0].rpartition(":")[2][:-1] for found in _IN_URL.finditer(one.path))
    yield from (str(value) for name, value in one.options.items() if re.search("(?i)key|pass|secret|token", name))


@contextlib.contextmanager
def masking(attached: tuple[Attachment, ...]) -> Iterator[None]:
    """Errors of what runs within are raised without passwords."""
    try:
        yield
    except LakehouseError as error:
        said = masked(str(error), attached) if attached else str(error)
        if said == str(error):
            raise
        kind = type(error) if isinstance(error, JobError) else JobError
        raise kind(said) from None
