"""Models of the materialization ``external``: tables of the lake that become files beside it once their run is published.

What dbt-duckdb's users write is understood: ``location``, ``format``, ``delimiter``, ``options``, ``external_root``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dbt.adapters.base.meta import AdapterMeta, available
from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.connection import AdapterResponse
from dbt.adapters.events.logging import AdapterLogger

from dbt.adapters.lakehouse import external_sources, profile
from dbt.adapters.lakehouse.connections import LakehouseConnectionManager, dbt_errors
from dbt.adapters.lakehouse.credentials import LakehouseCredentials, project_dir
from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError, StorageError
from dbt.adapters.lakehouse.events import Invocation
from dbt.adapters.lakehouse.lake.base import Lake, Run
from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.relation import LakehouseRelation
from dbt.adapters.lakehouse.settings import PublishMode
from dbt.adapters.lakehouse.storage import folder_name

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.exports import Export, Exports

logger = AdapterLogger("Lakehouse")

FORMATS = ("parquet", "csv", "json")
BRANCH = "{branch}"
"""In a location: the name of the branch that is published to."""

_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_TEXTS = frozenset({"delimiter", "delim", "sep", "quote", "escape", "null", "nullstr"})


def copy_options(location: str, said: Mapping[str, Any]) -> dict[str, str]:
    """The options of DuckDB's COPY for a location, from what a model says, as dbt-duckdb understands it."""
    options = {str(key): str(value) for key, value in said.items()}
    if "format" not in options:
        path = PurePosixPath(location)
        extension = path.suffix
        compression = _COMPRESSED.get(extension.lower())
        if compression is not None:
            extension = PurePosixPath(path.stem).suffix
        delimited = "csv" if "delimiter" in options else "parquet"
        options["format"] = extension.lower().removeprefix(".") or delimited
        if options["format"] == "ndjson":
            options["format"] = "json"
        if compression is not None and extension:
            options.setdefault("compression", compression)
    if options["format"].lower().strip("'") == "csv":
        options.setdefault("header", "1")
    for key, value in options.items():
        if key.lower() == "partition_by" and "," in value and not value.startswith("("):
            options[key] = f"({value})"
        elif key.lower() in _TEXTS and not value.startswith("'"):
            options[key] = literal(value)
    return options


def place(location: str, branch: str, home: str) -> str:
    """Where a branch's rows go: to the location itself from the branch ``home``, else to a folder of the branch's own in its
    folder, unless the location says where the branch's name stands.
    """
    if BRANCH in location:
        return location.replace(BRANCH, folder_name(branch))
    if branch == home:
        return location
    folder, slash, name = location.rstrip("/").rpartition("/")
    return f"{folder}{slash}@{folder_name(branch)}/{name}"


class ExternalModels(metaclass=AdapterMeta):
    """The part of the adapter that ``external`` models need."""

    if TYPE_CHECKING:
        invocation: Invocation
        connections: LakehouseConnectionManager

        @property
        def credentials(self) -> LakehouseCredentials:
            """The profile's output."""

        lake: Callable[[], Lake]
        config: Any
        Relation: type[LakehouseRelation]
        get_macro_resolver: Callable[[], Any]
        build_table: Callable[..., AdapterResponse]

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_external(
        self,
        node: Mapping[str, Any],
        relation: BaseRelation,
        code: str,
        location: str,
        options: Mapping[str, Any],
        sql_header: str | None = None,
    ) -> AdapterResponse:
        """Make the table of an external model, and have its files written once the run is published."""
        with dbt_errors():
            export = self._export(node, relation, location, options)
        response = self.build_table(node, relation, code, sql_header)
        with dbt_errors():
            exports, run = self._exports(), self.invocation.run()
            exports.check(export, run.branch or export.branch)
            if run.request.publish is PublishMode.EACH_NODE:
                if exports.write(export):
                    self._tell(export)
            else:
                exports.note(export, run.request.id)
                self.invocation.when_published = self.finish_exports
        return response

    @available.parse_none
    def get_relation(self, database: str, schema: str, identifier: str) -> BaseRelation | None:
        """What stands at a name; a source that is a file is there, though no catalog has it."""
        found: BaseRelation | None = super().get_relation(database, schema, identifier)  # type: ignore[misc]
        return found if found is not None else self._source_file(schema, identifier)

    def _source_file(self, schema: str | None, identifier: str | None) -> BaseRelation | None:
        """The relation of a source that is a file."""
        source = self._file_sources().get((str(schema).lower(), str(identifier).lower()))
        return None if source is None else self.Relation.create_from(self.config, source)

    def _file_sources(self) -> Mapping[tuple[str, str], Any]:
        manifest = self.get_macro_resolver()
        known, sources = getattr(self, "_sources_of", (None, {}))
        if known is not manifest:
            sources = external_sources.by_name(getattr(manifest, "nodes", {}), getattr(manifest, "sources", {}))
            self._sources_of = (manifest, sources)
        return sources

    def _export(
        self, node: Mapping[str, Any], relation: BaseRelation, location: str, options: Mapping[str, Any]
    ) -> Export:
        from dbt.adapters.lakehouse.lake.exports import Export

        if self.credentials.service_settings() is not None:
            raise ConfigError(
                f"{node['unique_id']}: materialized='external' writes files where jobs run, and those of a service write to the "
                "lake alone; let it be 'table', and take its rows with `lakehouse query \"FROM …\" --output FILE`"
            )
        _check(node)
        branch = self.credentials.target_branch()
        where = place(location, branch, profile.external_branch(self.credentials.as_profile()))
        export = Export(
            node=node["unique_id"],
            schema=relation.schema or "",
            name=relation.identifier or "",
            branch=branch,
            location=where if "://" in where else str(Path(os.path.abspath(project_dir() / Path(where).expanduser()))),  # noqa: PTH100
            options=copy_options(where, options),
        )
        known = export.options["format"].lower().strip("'")
        if known not in FORMATS:
            raise ConfigError(
                f"{export.node}: format {known!r} of {location} is none that is written; parquet, csv and json are: say format, "
                "or let the location end in one of them"
            )
        other = self.invocation.exported.setdefault(export.location, export.node)
        if other != export.node:
            raise ConfigError(
                f"{export.node} and {other} are both to be written to {export.location}; give each its own"
            )
        return export

    def _exports(self) -> Exports:
        from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
        from dbt.adapters.lakehouse.lake.exports import Exports

        lake = self.lake()
        assert isinstance(lake, EmbeddedLake)
        return Exports(lake)

    def finish_exports(self, run: Run) -> None:
        """Write the files of a run that was published, and what others left. Raises ``DbtRuntimeError`` if some cannot be."""
        if run.request.publish is PublishMode.MANUAL:
            return
        with dbt_errors():
            done = self._exports().finish(run.request.id)
            for export in done.written:
                self._tell(export)
            if done.failed:
                said = "; ".join(f"{export.location} ({why})" for export, why in done.failed)
                raise StorageError(
                    f"the run was published, but not all files of external models could be written: {said}. "
                    "The next run that is published writes them"
                )

    def _tell(self, export: Export) -> None:
        logger.info(f"{export.name} was written to {export.location}")

    # what inherited macros ask

    @available
    def external_root(self) -> str:
        """The folder of models that do not say where their files go."""
        return profile.external_root(self.credentials.as_profile())

    @available
    def external_write_options(self, write_location: str, rendered_options: dict[str, Any]) -> str:
        """The options of COPY as SQL; they are put into ``rendered_options`` too."""
        rendered_options.update(copy_options(write_location, rendered_options))
        return ", ".join(f"{key} {value}" for key, value in rendered_options.items())

    @available
    def external_read_location(self, write_location: str, rendered_options: Mapping[str, Any]) -> str:
        """The path or pattern of what was written to a location."""
        partitions = rendered_options.get("partition_by")
        if not partitions and not rendered_options.get("per_thread_output"):
            return write_location
        levels = ["*"] * len(str(partitions).split(",")) if partitions else []
        return "/".join([write_location, *levels, f"*.{rendered_options.get('format', 'parquet')}"])

    @available
    def location_exists(self, location: str) -> bool:
        """Whether DuckDB can read a location."""
        try:
            self.connections.session().describe(f"SELECT 1 FROM {literal(location)} WHERE 1 = 0")
        except LakehouseError:
            return False
        return True


def _check(node: Mapping[str, Any]) -> None:
    """Raise for what dbt-duckdb knows of these models and nobody does here."""
    config = node["config"]
    if config.get("glue_register"):
        raise ConfigError(
            f"{node['unique_id']}: glue_register is not known here; the model's table is Iceberg, which Glue's catalog can be "
            "given by its metadata location (`lakehouse table SCHEMA.NAME --json` tells it)"
        )
    if config.get("plugin"):
        raise ConfigError(
            f"{node['unique_id']}: plugin {config.get('plugin')!r} is not asked to store an external model here; read the "
            "model's file, or its table, in what comes after dbt"
        )
