"""``catalogs.yml``: a catalog of dbt's, as a model's ``catalog_name`` names it, is here the lake itself.

Projects that were written for a platform with several catalogs so run unchanged: their tables are Iceberg here in any case,
and where their files lie is said by the profile's ``warehouse``. What would mean another catalog is refused before
anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.base.meta import AdapterMeta, available
from dbt.adapters.catalogs import (  # type: ignore[attr-defined] # it lists no names as its own
    CatalogIntegration,
    CatalogIntegrationConfig,
    CatalogWriteIntegrationConfig,
)
from dbt.adapters.events.logging import AdapterLogger

from dbt.adapters.lakehouse.connections import dbt_errors
from dbt.adapters.lakehouse.errors import ConfigError

if TYPE_CHECKING:
    from dbt.adapters.catalogs import CatalogV2  # type: ignore[attr-defined]
    from dbt.adapters.contracts.relation import RelationConfig

logger = AdapterLogger("Lakehouse")

TYPE = "lakehouse"
_BUILT_IN = "built_in"
_SAY = "a write integration with `catalog_type: lakehouse`, which `active_write_integration` names"


@dataclass(frozen=True)
class LakeCatalogRelation:
    """What ``adapter.build_catalog_relation(model)`` says of a model's table."""

    catalog_type: str = TYPE
    catalog_name: str | None = None
    table_format: str | None = "iceberg"
    file_format: str | None = "parquet"
    external_volume: str | None = None


class LakeCatalog(CatalogIntegration):
    """The lake under a name of ``catalogs.yml``."""

    catalog_type = TYPE
    table_format = "iceberg"
    file_format = "parquet"
    allows_writes = True

    def __init__(self, config: CatalogIntegrationConfig) -> None:
        with dbt_errors():
            _check_formats(config)
            self._check_rest(config)
        super().__init__(config)
        self.table_format, self.file_format, self.external_volume = "iceberg", "parquet", None

    def _check_rest(self, config: CatalogIntegrationConfig) -> None:
        said = _said(config)
        if said:
            raise ConfigError(
                f"catalog {config.name!r} of catalogs.yml says {', '.join(said)}, which a catalog of type {TYPE!r} does not "
                "take: files go where the profile's `warehouse` says; take it out"
            )

    def build_relation(self, config: RelationConfig) -> Any:
        """A ``LakeCatalogRelation``."""
        return LakeCatalogRelation(catalog_name=self.name)


class BuiltInCatalog(LakeCatalog):
    """The platform's own catalog, as projects for Snowflake call it: here that is the lake."""

    catalog_type = _BUILT_IN

    def _check_rest(self, config: CatalogIntegrationConfig) -> None:
        said = _said(config)
        if said:
            logger.warning(
                f"catalog {config.name!r} of catalogs.yml says {', '.join(said)}: it has no meaning here, since files go where "
                "the profile's `warehouse` says"
            )


def _said(config: CatalogIntegrationConfig) -> list[str]:
    volume = ["external_volume"] if config.external_volume else []
    return volume + sorted(config.adapter_properties or {})


def _check_formats(config: CatalogIntegrationConfig) -> None:
    for key, right in (("table_format", ("iceberg", "default")), ("file_format", ("parquet",))):
        value = getattr(config, key, None)
        if value is not None and str(value).lower() not in right:
            raise ConfigError(
                f"catalog {config.name!r} of catalogs.yml says {key} {value!r}, and tables of the lake have {right[0]!r}; "
                "say that, or leave it out"
            )


class DbtCatalogs(metaclass=AdapterMeta):
    """What dbt asks an adapter of ``catalogs.yml``; part of ``LakehouseAdapter``."""

    CATALOG_INTEGRATIONS: Iterable[type[CatalogIntegration]] = (LakeCatalog, BuiltInCatalog)

    if TYPE_CHECKING:
        config: Any

    def add_catalog_integration(self, catalog_integration: CatalogIntegrationConfig) -> CatalogIntegration:
        """Check a catalog and know it by its name from then on."""
        known = [one.catalog_type for one in self.CATALOG_INTEGRATIONS]
        with dbt_errors():
            if str(catalog_integration.catalog_type).lower() not in known:
                raise ConfigError(
                    f"catalog {catalog_integration.name!r} of catalogs.yml has the type {catalog_integration.catalog_type!r}, "
                    f"which is another platform's; models for the lake need {_SAY} (by `env_var`, where the project runs "
                    f"on both). Known types: {', '.join(known)}"
                )
        added: CatalogIntegration = super().add_catalog_integration(catalog_integration)  # type: ignore[misc]
        self._names_of_catalogs().add(catalog_integration.name)
        return added

    def bridge_v2_catalog(self, catalog: CatalogV2) -> CatalogIntegrationConfig:
        """A catalog of the second form of ``catalogs.yml`` (dbt-core 1.12), which says something of each platform."""
        said = catalog.config.get(TYPE)
        with dbt_errors():
            if said is None:
                raise ConfigError(
                    f"catalog {catalog.name!r} of catalogs.yml does not say what it is here (it knows: "
                    f"{', '.join(sorted(catalog.config)) or 'nothing'}); add `{TYPE}: {{}}` to its `config` for it to be the lake"
                )
        rest = {key: value for key, value in said.items() if key not in ("external_volume", "file_format")}
        return CatalogWriteIntegrationConfig(
            name=catalog.name,
            catalog_type=TYPE,
            catalog_name=catalog.name,
            table_format=catalog.table_format.value,
            external_volume=said.get("external_volume"),
            file_format=said.get("file_format"),
            adapter_properties=rest,
        )

    @available
    def get_catalog_integration(self, name: str) -> CatalogIntegration:
        """A catalog of ``catalogs.yml``. Raises dbt's error where it has none of that name."""
        known = self._names_of_catalogs()
        if name not in known:
            with dbt_errors():
                raise ConfigError(
                    f"catalog_name {name!r} is none of the catalogs in catalogs.yml "
                    f"(they are: {', '.join(sorted(known)) or 'none'}); add a catalog of that name with {_SAY}"
                )
        found: CatalogIntegration = super().get_catalog_integration(name)  # type: ignore[misc]
        return found

    @available
    def build_catalog_relation(self, config: RelationConfig | Mapping[str, Any]) -> Any:
        """A ``LakeCatalogRelation`` for a model (or Jinja's ``model``) that has a ``catalog_name``; None for others.

        dbt asks as it names the relations of a project, and so what is wrong shows before anything runs.
        """
        said: Any = (config.get("config") if isinstance(config, Mapping) else config.config) or {}
        name, older = said.get("catalog_name"), said.get("catalog")
        if name is None and older in self._names_of_catalogs():
            name = older  # the older key counts where it means a catalog, and else says something to another platform
        if name is None or self._cannot_know():
            return None
        return self.get_catalog_integration(name).build_relation(config)

    def set_relations_cache(self, relation_configs: Iterable[RelationConfig], *more: Any, **keys: Any) -> None:
        """As in dbt; of nodes that dbt did not parse anew, since their files are as they were, catalogs are looked at here."""
        relation_configs = list(relation_configs)
        for one in relation_configs:
            self.build_catalog_relation(one)
        super().set_relations_cache(relation_configs, *more, **keys)  # type: ignore[misc]

    def _cannot_know(self) -> bool:
        """Whether dbt did not say what is in ``catalogs.yml``: dbt-core 1.11 does not where it is handed a manifest."""
        return not self._names_of_catalogs() and Path(self.config.project_root, "catalogs.yml").exists()

    def _names_of_catalogs(self) -> set[str]:
        names: set[str] = self.__dict__.setdefault("_catalog_names", set())
        return names
