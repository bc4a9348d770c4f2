"""Builds as their commits keep them, so that they can be done again: small, and without what a commit says anyway.

A commit has the node, the mode and the compiled code of a build under names of their own, since people read those. All
else that shapes its table stands in ``recipe``, as far as it is not what it is by default.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from dbt.adapters.lakehouse.run.values import Build, Name, View
from dbt.adapters.lakehouse.tables.values import Constraints

_SAID_ELSEWHERE = frozenset({"name", "mode", "sql", "node", "python", "constraints", "provenance"})
_LEFT_OUT = frozenset({"arrow", "rebuild", "deciding", "more_files"})
"""What has to do with one execution, or with reuse alone."""


def recipe(build: Build) -> dict[str, Any]:
    """What a build's commit says of it beside node, mode and code. JSON-able."""
    said: dict[str, Any] = {"relation": [build.name.schema, build.name.name]}
    for name, default in _defaults().items():
        value = getattr(build, name)
        if value != default:
            said[name] = _plain(value)
    constraints = dataclasses.replace(build.constraints, table="")
    if constraints != Constraints():
        said["constraints"] = {name: value for name, value in dataclasses.asdict(constraints).items() if value}
    if build.python is not None:
        source = dataclasses.asdict(build.python)
        said["python"] = {name: value for name, value in source.items() if name != "code" and value}
    if build.arrow is not None:
        said["from_caller"] = True
    return said


def whole_recipe(build: Build) -> dict[str, Any]:
    """The same with node, mode and code in it, where a commit is about several builds."""
    said = {**recipe(build), "node": build.node, "mode": build.mode, "sql": build.sql}
    if build.python is not None:
        said["python"]["code"] = build.python.code
    return said


def view_recipe(view: View, setup: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a view's commit says of it beside node and SQL."""
    said: dict[str, Any] = {"relation": [view.name.schema, view.name.name]}
    more = {"comment": view.comment, "column_comments": dict(view.column_comments), "setup": list(setup)}
    return said | {name: value for name, value in more.items() if value}


def packed(builds: Iterable[Build]) -> str:
    """Whole recipes of many builds as one text: code that is nearly the same (batches), or of no interest for itself."""
    text = json.dumps([whole_recipe(build) for build in builds], ensure_ascii=False)
    return base64.b64encode(zlib.compress(text.encode(), 1)).decode()


def unpacked(text: str) -> list[dict[str, Any]]:
    """The inverse of ``packed``."""
    found: list[dict[str, Any]] = json.loads(zlib.decompress(base64.b64decode(text)))
    return found


def whole(provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """The whole recipe of a build or view that has a commit of its own; None if its provenance does not hold it."""
    if "recipe" not in provenance or not (provenance.get("sql") or provenance.get("python")):
        return None
    said = {**provenance["recipe"], **{name: provenance.get(name) for name in ("node", "mode", "sql")}}
    if provenance.get("python") is not None:
        said["python"] = {**said.get("python", {}), "code": provenance["python"]}
    return said


def build_of(said: Mapping[str, Any], database: str) -> Build:
    """The build that a whole recipe describes, in the lake called ``database``. It is made whatever is known already."""
    fields = {name: value for name, value in said.items() if name in _defaults() or name in _SAID_ELSEWHERE}
    build: Build = _decoder()({**fields, "name": _name(said, database), "rebuild": True})
    if build.batch is not None:
        # One after the other, whatever came after it then.
        build = dataclasses.replace(build, batch=dataclasses.replace(build.batch, number=0, of=0))
    return build


def view_of(said: Mapping[str, Any], database: str) -> tuple[View, tuple[str, ...]]:
    """The view that a whole recipe describes, and what runs before it."""
    view = View(
        name=Name(**_name(said, database)),
        sql=said["sql"],
        node=said.get("node"),
        comment=said.get("comment"),
        column_comments=said.get("column_comments", {}),
    )
    return view, tuple(said.get("setup", ()))


def _name(said: Mapping[str, Any], database: str) -> dict[str, str]:
    schema, name = said["relation"]
    return {"database": database, "schema": schema, "name": name}


@functools.cache
def _defaults() -> Mapping[str, Any]:
    """The fields that a recipe may have, with what they are by default."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Build):
        if field.name not in _SAID_ELSEWHERE | _LEFT_OUT:
            made = field.default_factory is not dataclasses.MISSING
            found[field.name] = field.default_factory() if made else field.default  # type: ignore[misc]
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return dict(value) if isinstance(value, Mapping) else value


@functools.cache
def _decoder() -> Any:
    # Imported late: whoever writes commits has no need of it.
    from mashumaro.codecs.basic import BasicDecoder

    return BasicDecoder(Build).decode
