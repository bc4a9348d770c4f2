"""What one output of ``profiles.yml`` says, checked and translated. Knows no dbt, so that the command line starts fast.

Relative paths (``warehouse``, ``temp_directory``, the file of a ``sqlite:`` catalog) start at the project's folder: the
one of ``dbt_project.yml``, which is also where dbt itself stands while it runs.
"""

from __future__ import annotations

import difflib
import getpass
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from dbt.adapters.lakehouse.catalog.refs import check_name, is_run_name, parse
from dbt.adapters.lakehouse.errors import ConfigError, InvalidRef
from dbt.adapters.lakehouse.jobs import filesystems, secrets
from dbt.adapters.lakehouse.jobs.attached import attachments, check_attach
from dbt.adapters.lakehouse.jobs.plugins import check_plugins, databases, plugins_of
from dbt.adapters.lakehouse.settings import (
    Allowed,
    Isolation,
    LakeSettings,
    PublishConflict,
    PublishMode,
    ServiceSettings,
)
from dbt.adapters.lakehouse.storage.base import LOCAL, S3
from dbt.adapters.lakehouse.storage.places import check_warehouse
from dbt.adapters.lakehouse.storage.s3_options import check_s3_location, s3_options

DEFAULT_BRANCH = "main"
DEFAULT_DATABASE = "lake"
GIT = "git"
"""As ``branch``: the branch that git has checked out."""

_RESERVED_DATABASES = frozenset({"memory", "system", "temp", "main"})
_MEMORY = re.compile(r"\d+(\.\d+)?\s*[kmgt](i?b)?", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_ELSEWHERE = {
    "path": "write where the lake is as 'warehouse'",
    "dbname": "the key is called 'database'",
    "config_options": "the key is called 'settings'",
    "retries": "reading what is outside is tried again by DuckDB (settings: {http_retries: 6}), the warehouse by "
    "storage_options: {retries: 6}, and a service tries whole jobs again",
    "keep_open": "remove it: workers are kept as long as dbt's process lives",
    "disable_transactions": "remove it: the run is the transaction",
    "is_ducklake": "remove it: tables are Iceberg in 'warehouse'",
    "remote": "name a service that runs jobs elsewhere as 'service' and 'token', or keep the lake here with 'warehouse'",
    "motherduck_token": "MotherDuck has no part in this; the lake is a folder named by 'warehouse'",
    "flights": "MotherDuck has no part in this; Python models name their packages (packages: [pandas])",
}


def lake_settings(profile: Mapping[str, Any], project_dir: Path) -> LakeSettings:
    """Where the lake of a profile's output is and how it is reached. Raises ``ConfigError`` if any key is wrong."""
    validate(profile)
    if "service" in profile:
        raise ConfigError(
            f"the profile names a service ({profile['service']}); this needs the lake itself: its 'warehouse' (or --warehouse)"
        )
    warehouse = _warehouse_uri(profile["warehouse"], project_dir)
    options = _texts(profile.get("storage_options", {}))
    check_warehouse(warehouse, options)
    temp = profile.get("temp_directory")
    plugins = plugins_of(profile.get("plugins", ()))
    extensions = [_extension(entry) for entry in profile.get("extensions", ())]
    return LakeSettings(
        warehouse=warehouse,
        catalog=_catalog_url(profile.get("catalog"), warehouse, project_dir),
        database=profile.get("database", DEFAULT_DATABASE),
        workers=profile.get("threads", 1),
        memory_limit=profile.get("memory_limit"),
        temp_directory=None if temp is None else _absolute(temp, project_dir),
        extensions=tuple(name for name, _ in extensions),
        duckdb_settings=_texts(profile.get("settings", {})),
        attached=(
            *attachments(profile.get("attach", ()), project_dir.absolute(), profile.get("database", DEFAULT_DATABASE)),
            *databases(plugins),
        ),
        plugins=plugins,
        storage_options=options,
        repositories={name: place for name, place in extensions if place is not None},
        secrets=_secrets(profile),
        filesystems=tuple(profile.get("filesystems", ())),
        module_paths=tuple(_absolute(path, project_dir) for path in profile.get("module_paths", ())),
    )


def _extension(entry: Any) -> tuple[str, str | None]:
    """Name and repository of an entry of ``extensions``."""
    return (entry["name"], entry["repo"]) if isinstance(entry, Mapping) else (entry, None)


def _secrets(profile: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """``secrets``, and the one that dbt-duckdb's older ``use_credential_provider`` stands for."""
    chain = [{"type": "s3", "provider": "credential_chain"}] if profile.get("use_credential_provider") else []
    return (*profile.get("secrets", ()), *chain)


def external_root(profile: Mapping[str, Any]) -> str:
    """The folder of ``external`` models that do not say where their files go."""
    return str(profile.get("external_root", "."))


def external_branch(profile: Mapping[str, Any]) -> str:
    """The branch whose tables are exported to the very places that ``external`` models name."""
    return str(profile.get("external_branch", DEFAULT_BRANCH))


def service_settings(profile: Mapping[str, Any], project_dir: Path) -> ServiceSettings | None:
    """The service that keeps the lake of a profile's output; None if the lake is in this process.

    Raises ``ConfigError`` if any key is wrong. The token may stand in LAKEHOUSE_TOKEN instead.
    """
    validate(profile)
    url = profile.get("service")
    if url is None:
        return None
    ca = profile.get("service_ca")
    return ServiceSettings(
        url=url.rstrip("/"),
        token=profile.get("token") or os.environ.get("LAKEHOUSE_TOKEN") or None,
        ca=None if ca is None else _absolute(ca, project_dir),
        database=profile.get("database", DEFAULT_DATABASE),
    )


def target_branch(profile: Mapping[str, Any], project_dir: Path) -> str:
    """The branch that a profile's output reads and publishes to; ``git`` is looked up in the project's repository.

    LAKEHOUSE_BRANCH names another one for one command. It is no part of what dbt knows of the profile, so that dbt need
    not parse the project again for it.
    """
    told = os.environ.get("LAKEHOUSE_BRANCH")
    branch = told or profile.get("branch", DEFAULT_BRANCH)
    if told and told != GIT:
        _branch_name(told, f"LAKEHOUSE_BRANCH is {told!r}")
    _branch("branch", branch)
    return git_branch(project_dir) if branch == GIT else str(branch)


def from_branch(profile: Mapping[str, Any]) -> str:
    """The ref that the target's branch is made from on first use: mostly a branch."""
    branch = profile.get("from_branch", DEFAULT_BRANCH)
    _from_branch("from_branch", branch)
    return str(branch)


def state_ref(profile: Mapping[str, Any]) -> str | None:
    """The ref at which the relations of ``--state`` are read; LAKEHOUSE_STATE_REF names one for one command."""
    told = os.environ.get("LAKEHOUSE_STATE_REF")
    if not told:
        return profile.get("state_ref")
    try:
        parse(told)
    except InvalidRef as error:
        raise ConfigError(f"LAKEHOUSE_STATE_REF is {told!r}: {error}; name a branch, a tag or a commit") from error
    return told


def publish_mode(profile: Mapping[str, Any]) -> PublishMode:
    """When what a run wrote becomes visible; LAKEHOUSE_PUBLISH says otherwise for one command."""
    told = os.environ.get("LAKEHOUSE_PUBLISH")
    mode = told or profile.get("publish", PublishMode.ON_SUCCESS)
    if told and told not in [mode.value for mode in PublishMode]:
        raise ConfigError(
            f"LAKEHOUSE_PUBLISH is {told!r}; known values: {', '.join(mode.value for mode in PublishMode)}"
        )
    _publish("publish", mode)
    return PublishMode(mode)


def publish_conflict(profile: Mapping[str, Any]) -> PublishConflict:
    """What is done when the target moved under a run that passed; LAKEHOUSE_PUBLISH_CONFLICT says otherwise for one command."""
    told = os.environ.get("LAKEHOUSE_PUBLISH_CONFLICT")
    known = [one.value for one in PublishConflict]
    if told and told not in known:
        raise ConfigError(f"LAKEHOUSE_PUBLISH_CONFLICT is {told!r}; known values: {', '.join(known)}")
    said = told or profile.get("publish_conflict", PublishConflict.FAIL)
    _publish_conflict("publish_conflict", said)
    return PublishConflict(said)


def isolation(profile: Mapping[str, Any]) -> Isolation:
    """What must not have moved when a run is published. Raises ``ConfigError`` where nothing is published at once."""
    said = profile.get("isolation", Isolation.SNAPSHOT)
    _isolation("isolation", said)
    if said == Isolation.SERIALIZABLE and publish_mode(profile) is PublishMode.EACH_NODE:
        raise ConfigError(
            "profile key 'isolation' is 'serializable', which is about runs that are published at once; with publish: each_node "
            "none is; let publish be on_success, or isolation snapshot"
        )
    return Isolation(said)


def allowed(profile: Mapping[str, Any]) -> frozenset[Allowed]:
    """The guards that are to let pass what they would refuse; LAKEHOUSE_ALLOW (owner,schema) says otherwise for one command."""
    told = os.environ.get("LAKEHOUSE_ALLOW")
    if told is None:
        said = profile.get("allow", ())
        _allow("allow", said)
        return frozenset([said] if isinstance(said, str) else said)
    names = [name.strip() for name in told.split(",") if name.strip()]
    if not set(names) <= set(_GUARDS):
        raise ConfigError(f"LAKEHOUSE_ALLOW is {told!r}; known values: {', '.join(_GUARDS)}, separated by commas")
    return frozenset(cast("list[Allowed]", names))


def author() -> str:
    """Who acts: LAKEHOUSE_AUTHOR, else the name of the system's user."""
    name = os.environ.get("LAKEHOUSE_AUTHOR")
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"


def validate(profile: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for the first key that is unknown, missing or wrong; it says what would be right."""
    for key, value in profile.items():
        check = _CHECKS.get(key)
        if check is None:
            raise ConfigError(f"unknown profile key {key!r}{_instead(key)}")
        if value is None:
            raise ConfigError(f"profile key {key!r} is empty; give it a value or remove it")
        check(key, value)
    if "service" in profile:
        _check_beside_service(profile)
        return
    alone = [key for key in ("token", "service_ca") if key in profile]
    if alone:
        raise ConfigError(f"profile key {alone[0]!r} is for a service; name its URL as 'service', or remove the key")
    if "warehouse" not in profile:
        raise ConfigError(
            "the profile has no 'warehouse': the folder that holds the lake, ./lake for instance (or 'service': the URL of "
            "a service that keeps it)"
        )


def _check_beside_service(profile: Mapping[str, Any]) -> None:
    where = [key for key in ("warehouse", "catalog", "storage_options") if key in profile]
    if where:
        raise ConfigError(
            f"profile key {where[0]!r} stands beside 'service', which knows where the lake is; keep one of the two"
        )
    if "attach" in profile:
        raise ConfigError(
            "profile key 'attach' stands beside 'service', whose jobs read the lake alone: load what is wanted with `lakehouse "
            "import SCHEMA.NAME FILE`, or keep the lake itself in a profile with 'warehouse'"
        )
    if "plugins" in profile:
        raise ConfigError(
            "profile key 'plugins' stands beside 'service', which runs no Python of others but models: let a Python model read "
            "what a plugin would load (internet_access: true), or load it with `lakehouse import SCHEMA.NAME FILE`"
        )
    how = [key for key in _OF_THE_SERVICE if key in profile]
    if how:
        raise ConfigError(
            f"profile key {how[0]!r} stands beside 'service', where jobs run under the service's own configuration; "
            "remove it (models may ask for memory, cpus and timeout)"
        )


_OF_THE_SERVICE = (
    "memory_limit",
    "temp_directory",
    "extensions",
    "settings",
    "executor",
    "secrets",
    "use_credential_provider",
    "filesystems",
    "module_paths",
)


def git_branch(folder: Path) -> str:
    """The branch checked out in the git repository (or worktree) around a folder, read without running git."""
    head = _git_head(folder.absolute())
    if not head.startswith("ref: refs/heads/"):
        raise ConfigError(
            f"profile key 'branch' is 'git', but the repository of {folder} has no branch checked out (HEAD is at "
            f"{head[:8]}); check one out, or name the branch: \"branch: {{{{ env_var('GIT_BRANCH') }}}}\" in a CI job"
        )
    name = head.removeprefix("ref: refs/heads/")
    _branch_name(name, f"profile key 'branch' is 'git', which has {name!r} checked out")
    return name


def _git_head(folder: Path) -> str:
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        try:
            if git.is_file():  # a worktree or submodule: "gitdir: <where its own HEAD is>"
                git = parent / git.read_text().strip().removeprefix("gitdir: ")
            if (git / "HEAD").is_file():
                return (git / "HEAD").read_text().strip()
        except OSError as error:
            raise ConfigError(f"profile key 'branch' is 'git', but {git} cannot be read: {error}") from error
    raise ConfigError(
        f"profile key 'branch' is 'git', but {folder} is in no git repository; name the branch: branch: main"
    )


# Paths and URLs


def _absolute(path: str, project_dir: Path) -> str:
    return os.path.abspath(project_dir / Path(path).expanduser())  # noqa: PTH100 (".." goes, symbolic links stay)


def _warehouse_uri(warehouse: str, project_dir: Path) -> str:
    if warehouse.startswith(S3):
        return warehouse.rstrip("/")
    return LOCAL + _absolute(warehouse.removeprefix("file:").replace("///", "/", 1), project_dir).rstrip("/")


def _catalog_url(catalog: str | None, warehouse: str, project_dir: Path) -> str:
    if catalog is None:
        if not warehouse.startswith(LOCAL):
            raise ConfigError(
                f"profile key 'catalog' is missing: a warehouse on S3 ({warehouse}) has no folder beside it for one; "
                "name a file, sqlite:///path/to/catalog.sqlite, or a database, postgresql://user:password@host/database"
            )
        return f"sqlite:///{warehouse.removeprefix(LOCAL)}/catalog.sqlite"
    if catalog.startswith("sqlite:///"):
        return "sqlite:///" + _absolute(catalog.removeprefix("sqlite:///"), project_dir)
    return catalog


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as DuckDB reads them: booleans in lower case."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}


# Checks: one a key, called with the key and its value


def _wrong(key: str, value: object, right: str) -> ConfigError:
    value = without_password(value) if isinstance(value, str) else value
    return ConfigError(f"profile key {key!r} is {value!r}; {right}")


def _instead(key: object) -> str:
    if key in _ELSEWHERE:
        return f"; {_ELSEWHERE[str(key)]}"
    close = difflib.get_close_matches(str(key), _CHECKS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; these are known: {', '.join(_CHECKS)}"


def _text(key: str, value: object, right: str = "text is needed; put it in quotes") -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _wrong(key, value, right)
    return value


def _type(key: str, value: object) -> None:
    if value != "lakehouse":
        raise _wrong(key, value, "only outputs of type lakehouse can be used here")


def _warehouse(key: str, value: object) -> None:
    text = _text(key, value, "a path is needed, ./lake for instance")
    if text.startswith(S3):
        check_s3_location(text.rstrip("/"))
        return
    if _SCHEME.match(text) and not re.match(r"file:/(?:[^/]|//)", text):
        raise _wrong(key, value, "a local path, file:///… or s3://bucket/folder is needed")
    if not text.removeprefix("file:").strip("/"):
        raise _wrong(key, value, "the lake needs a folder of its own, ./lake for instance")


def _catalog(key: str, value: object) -> None:
    right = "sqlite:///path/to/catalog.sqlite or postgresql://user:password@host/database is needed"
    text = _text(key, value, right)
    if text.startswith("postgres") and text.partition("://")[2].partition("/")[0].count("@") > 1:
        raise _wrong(key, text, "an '@' within its password is written as %40")
    known = text.startswith(("postgresql://", "postgresql+psycopg://"))
    if not known and not (
        text.startswith("sqlite:///") and text.removeprefix("sqlite:///").strip("/") not in ("", ":memory:")
    ):
        raise _wrong(key, text, right)


def without_password(url: str) -> str:
    """A URL as it may be shown. A password that holds '@' ends at the last one."""
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:…@", url, flags=re.DOTALL)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1…", hidden)


def _database(key: str, value: object) -> None:
    text = _text(key, value, "a name is needed, lake for instance")
    if text.lower() in _RESERVED_DATABASES:
        raise _wrong(key, value, "DuckDB keeps that name to itself; choose another, lake for instance")
    if any(character in text for character in "@\"'`"):
        raise _wrong(key, value, "the name must hold neither '@' (it marks a ref, as in lake@v1) nor quotes")


def _branch(key: str, value: object) -> None:
    text = _text(key, value, "a branch's name is needed; put it in quotes")
    _branch_name(text, f"profile key {key!r} is {text!r}")


def _from_branch(key: str, value: object) -> None:
    text = _text(
        key,
        value,
        "a branch, a tag, a commit or a state of one is needed, main@2026-11-20 for instance; put it in quotes",
    )
    try:
        parse(text)
    except InvalidRef as error:
        raise _wrong(key, value, f"{error}; name a branch, a tag, a commit, or a state of one as main~2") from error


def _branch_name(name: str, fact: str) -> None:
    fault = "names that begin with 'run/' belong to runs" if is_run_name(name) else ""
    try:
        check_name(name)
    except InvalidRef as error:
        fault = str(error)
    if fault:
        raise ConfigError(f"{fact}, but {fault}; write the name of the lake's branch instead: branch: main")


def _publish(key: str, value: object) -> None:
    _one_of(key, value, [mode.value for mode in PublishMode])


def _publish_conflict(key: str, value: object) -> None:
    _one_of(key, value, [one.value for one in PublishConflict])


PREFLIGHT = ("error", "warn", "off")
"""What is done about what would break: nothing is run, it is said, or nobody looks."""


def _preflight(key: str, value: object) -> None:
    # YAML reads a bare off as false.
    if value is not False:
        _one_of(key, value, list(PREFLIGHT))


def _target_type(key: str, value: object) -> None:
    _one_of(key, value, ["lakehouse", "duckdb"])


def _isolation(key: str, value: object) -> None:
    _one_of(key, value, [one.value for one in Isolation])


_GUARDS: tuple[Allowed, ...] = get_args(Allowed)


def _allow(key: str, value: object) -> None:
    for name in value if isinstance(value, list | tuple) else [value]:
        _one_of(key, name, list(_GUARDS))


def _executor(key: str, value: object) -> None:
    if value != "local":
        raise _wrong(key, value, "other executors are not available in this version; local is")


def _service(key: str, value: object) -> None:
    right = "the URL of a service is needed: https://lake.example.com or http://127.0.0.1:8585"
    text = _text(key, value, right)
    match = re.fullmatch(r"(https?)://([^/?#@\s]+)(/[^?#\s]*)?", text)
    if match is None:
        raise _wrong(key, text, right)


def _token(key: str, value: object) -> None:
    # The value is not shown: it is a secret.
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise ConfigError(
            f"profile key {key!r} is not a token, which is text without spaces: token: \"{{{{ env_var('LAKEHOUSE_TOKEN') }}}}\""
        )


def _one_of(key: str, value: object, known: list[str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise _wrong(key, value, f"known values: {', '.join(known)}")


def _threads(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong(key, value, "a whole number of 1 or more is needed (from the environment: env_var(…) | as_number)")


def _memory(key: str, value: object) -> None:
    if not isinstance(value, str) or not _MEMORY.fullmatch(value.strip()):
        raise _wrong(key, value, "a number with a unit is needed: 4GB, 512MB, 2GiB")


def _switch(key: str, value: object) -> None:
    if not isinstance(value, bool) and value not in ("on", "off"):
        raise _wrong(key, value, "on or off is needed")


def _options(key: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise ConfigError(f"profile key {key!r} is not a mapping of names to values; write {key}: {{name: value}}")
    for name, option in value.items():
        if not isinstance(name, str) or not isinstance(option, str | int | float | bool):
            # The value is not shown: it may be a secret.
            raise ConfigError(f"profile key {key!r} has {name!r}, which is neither text nor a number nor true or false")


def _storage(key: str, value: object) -> None:
    _options(key, value)
    assert isinstance(value, Mapping)
    s3_options(_texts(value))


def _extensions(key: str, value: object) -> None:
    if not isinstance(value, list | tuple):
        raise _wrong(key, value, "a list of extensions' names is needed: [spatial, {name: h3, repo: community}]")
    for entry in value:
        said = entry if isinstance(entry, Mapping) else {"name": entry, "repo": "core"}
        texts = all(isinstance(said.get(part), str) and said[part] for part in ("name", "repo"))
        if not texts or set(said) != {"name", "repo"} or not re.fullmatch(r"\w+", said["name"]):
            raise _wrong(key, value, f"{entry!r} is not the name of a DuckDB extension, nor {{name: …, repo: …}}")


def _credential_provider(key: str, value: object) -> None:
    if value != "aws":
        raise _wrong(
            key, value, "aws alone is known; for others write secrets: [{type: gcs, provider: credential_chain}]"
        )


def _paths(key: str, value: object) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(path, str) and path.strip() for path in value):
        raise _wrong(key, value, "a list of folders is needed: [./lib]")


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "type": _type,
    "warehouse": _warehouse,
    "catalog": _catalog,
    "database": _database,
    "schema": _text,
    "branch": _branch,
    "from_branch": _from_branch,
    "publish": _publish,
    "publish_conflict": _publish_conflict,
    "reuse": _switch,
    "preflight": _preflight,
    "isolation": _isolation,
    "allow": _allow,
    "executor": _executor,
    "service": _service,
    "service_ca": _text,
    "token": _token,
    "threads": _threads,
    "memory_limit": _memory,
    "temp_directory": _text,
    "storage_options": _storage,
    "extensions": _extensions,
    "settings": _options,
    "attach": check_attach,
    "plugins": check_plugins,
    "secrets": secrets.check,
    "use_credential_provider": _credential_provider,
    "filesystems": filesystems.check,
    "module_paths": _paths,
    "external_root": _text,
    "external_branch": _branch,
    "state_ref": _from_branch,
    "target_type": _target_type,
}
