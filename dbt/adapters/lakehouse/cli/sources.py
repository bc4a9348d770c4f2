"""Files to import: which they are, what format they have, and the SELECT that reads them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dbt.adapters.lakehouse.errors import ConfigError, SchemaMismatch, SqlError, StorageError
from dbt.adapters.lakehouse.quoting import literal, quote
from dbt.adapters.lakehouse.tables.values import Column

FORMATS = ("csv", "json", "parquet")

_FORMAT_OF = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = (".gz", ".zst")
_KNOWN = "csv, tsv, json, jsonl, ndjson (each also .gz or .zst), parquet, pq"
_SCALAR = re.compile(r"[A-Z_]+( WITH TIME ZONE)?|DECIMAL\(\d+,\s*\d+\)")


@dataclass(frozen=True, kw_only=True)
class CsvDialect:
    """What is said about CSV files rather than found out."""

    header: bool = True
    delimiter: str | None = None
    null: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one format. ``partitions``: columns that folders such as ``year=2013`` below a glob give."""

    files: tuple[str, ...]
    format: str
    size_bytes: int
    partitions: tuple[str, ...] = ()
    dialect: CsvDialect = field(default_factory=CsvDialect)

    def select(self, *, types: Mapping[str, str] | None = None, sample_all: bool = False) -> str:
        """The rows of all files; columns are matched by name."""
        files = ", ".join(literal(_no_glob(file)) for file in self.files)
        options = ["union_by_name = true", f"hive_partitioning = {str(bool(self.partitions)).lower()}"]
        if self.format == "csv":
            options += self._csv_options(types or {})
        if sample_all and self.format != "parquet":
            options.append("sample_size = -1")
        return f"SELECT {self._columns()} FROM read_{self.format}([{files}], {', '.join(options)})"

    def _columns(self) -> str:
        """Everything but columns from folders above the glob, which say where the files are and not what is in them."""
        if not self.partitions:
            return "*"
        found = {part.partition("=")[0] for file in self.files for part in Path(file).parent.parts if "=" in part}
        above = sorted(found - set(self.partitions))
        quoted = ", ".join(quote(name) for name in above)
        return f"* EXCLUDE ({quoted})" if above else "*"

    def _csv_options(self, types: Mapping[str, str]) -> list[str]:
        # Left alone, DuckDB skips lines at the top until the rest looks regular: rows would be lost without a word.
        options = [f"header = {str(self.dialect.header).lower()}", "skip = 0"]
        if self.dialect.delimiter is not None:
            options.append(f"delim = {literal(self.dialect.delimiter)}")
        if self.dialect.null is not None:
            options.append(f"nullstr = {literal(self.dialect.null)}")
        if types:
            pairs = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in types.items())
            options.append(f"types = {{{pairs}}}")
        return options

    @property
    def shown(self) -> str:
        """The files in a message."""
        return self.files[0] if len(self.files) == 1 else f"{self.files[0]} and {len(self.files) - 1} more"


def find(sources: Sequence[str], wanted: str | None, dialect: CsvDialect) -> Source:
    """The files that paths and globs lead to, each once. Raises where there is nothing that could be read."""
    files: dict[str, None] = {}
    partitions: dict[str, None] = {}
    for source in sources:
        for file in _expand(source):
            partitions |= dict.fromkeys(_partitions(source, file))
            files[os.path.normpath(file)] = None
    formats = {file: wanted or _format_of(file) for file in files}
    if len(set(formats.values())) > 1:
        examples = {kind: file for file, kind in formats.items()}
        listed = ", ".join(f"{kind} ({file})" for kind, file in sorted(examples.items()))
        raise ConfigError(f"the files have different formats: {listed}; import one format at a time")
    sizes = [_readable_size(file) for file in files]
    return Source(
        files=tuple(files),
        format=next(iter(formats.values())),
        size_bytes=sum(sizes),
        partitions=tuple(partitions),
        dialect=dialect,
    )


def _expand(source: str) -> list[str]:
    if re.match(r"[a-z][a-z0-9+.-]+://", source):
        raise ConfigError(f"{source} is not a local file; download it first")
    path = os.path.expanduser(source)  # noqa: PTH111 (a Path would not keep a glob's text)
    if Path(path).is_dir():
        raise ConfigError(f"{source} is a folder; name its files: {source.rstrip('/')}/*.csv")
    if Path(path).exists():
        return [path]
    if not glob.has_magic(path):
        raise StorageError(f"there is no file {source}")
    found = sorted(name for name in glob.glob(path, recursive=True) if Path(name).is_file())  # noqa: PTH207
    if not found:
        raise StorageError(f"no file matches {source}")
    return found


def _partitions(source: str, file: str) -> list[str]:
    """Keys of folders such as ``year=2013`` that a glob went through; the folders it started from do not count."""
    if not glob.has_magic(source):
        return []
    fixed = re.split(r"[*?\[]", os.path.expanduser(source))[0]  # noqa: PTH111
    below = Path(file[fixed.rfind("/") + 1 :]).parent
    return [part.partition("=")[0] for part in below.parts if "=" in part]


def _format_of(file: str) -> str:
    path = Path(file)
    compressed = path.suffix.lower() in _COMPRESSED
    suffix = (path.with_suffix("") if compressed else path).suffix.lower()
    found = _FORMAT_OF.get(suffix)
    if found is None or (compressed and found == "parquet"):
        raise ConfigError(f"the name of {file} says no format that can be read ({_KNOWN}); name it with --format")
    return found


def _readable_size(file: str) -> int:
    try:
        with Path(file).open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}") from error
    if size == 0:
        raise ConfigError(f"{file} is empty; there is nothing to import")
    return size


def describe(source: Source, *, sample_all: bool = False) -> tuple[Column, ...]:
    """The columns the files have. Raises ``SqlError`` if they are not what they seem to be."""
    import duckdb  # late: a wrong name should be found without it

    with duckdb.connect() as connection:
        try:
            rows = connection.execute(f"DESCRIBE {source.select(sample_all=sample_all)}").fetchall()
        except duckdb.Error as error:
            raise SqlError(explain(source, str(error))) from error
    columns = tuple(Column(name=row[0], type=row[1]) for row in rows)
    if source.format == "csv" and len(columns) == 1 and re.search(r"[,;\t|]", columns[0].name):
        raise SchemaMismatch(
            f"{source.shown}: its lines have different numbers of fields under the header {columns[0].name!r}; "
            "correct the file, or name what is between the fields with --delimiter"
        )
    return columns


def types_to_keep(source: Source, columns: Sequence[Column], table: Sequence[Column]) -> dict[str, str]:
    """Types that CSV fields must be read as to join a table, rather than as what they look like (``007`` as 7)."""
    if source.format != "csv":
        return {}
    wanted = {column.name.lower(): column.type for column in table}
    return {
        column.name: wanted[column.name.lower()]
        for column in columns
        if _SCALAR.fullmatch(wanted.get(column.name.lower(), "-"))
    }


def check_columns(source: Source, columns: Sequence[Column], table: Sequence[Column], name: str) -> list[str]:
    """Refuse columns that the table lacks; the result are those the files lack."""
    known = {column.name.lower() for column in table}
    new = [column.name for column in columns if column.name.lower() not in known]
    if new:
        raise SchemaMismatch(
            f"{source.shown} has columns that {name} has not: {', '.join(new)}; "
            "drop them from the file, or write the table anew with --replace"
        )
    given = {column.name.lower() for column in columns}
    return [column.name for column in table if column.name.lower() not in given]


def explain(source: Source, message: str) -> str:
    """What DuckDB says of a file, without its list of settings and its advice on options that do not exist here."""
    lines = []
    for line in message.splitlines():
        if re.match(r"Possible|The search space|LINE \d|\* |Try |Column .* is being converted", line.strip()):
            break
        if line.strip():
            lines.append(line.strip())
    said = " ".join(lines).removeprefix("Invalid Input Error: ")
    advice = "; if the file is in order, --delimiter, --null or --no-header may help" if source.format == "csv" else ""
    return f"{source.shown} cannot be read as {source.format}: {said.rstrip('.; ')}{advice}"


def is_about_types(error: SqlError) -> bool:
    """Whether a value did not fit the type that DuckDB took its column for after the first rows."""
    return "sample_size=-1" in str(error) or "Try increasing 'sample_size'" in str(error)


def _no_glob(file: str) -> str:
    """A file's name whose ``*``, ``?`` and ``[`` mean themselves to DuckDB."""
    return re.sub(r"([*?\[])", r"[\1]", file)
