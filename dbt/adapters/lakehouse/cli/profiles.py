"""Finds the output of ``profiles.yml`` that dbt would take, and renders it, without importing dbt (which takes seconds).

As in dbt: the folder is ``--profiles-dir``, else ``DBT_PROFILES_DIR``, else the working folder if it has a
``profiles.yml``, else ``~/.dbt``; the profile is ``--profile``, else ``DBT_PROFILE``, else the project's; the target is
``--target``, else ``DBT_TARGET``, else the profile's, else ``default``. Beyond dbt: where there is no project, the one
profile that has a lakehouse output is taken. Rendering knows ``env_var`` and dbt's ``as_…`` filters.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.cli.options import GlobalOptions
from dbt.adapters.lakehouse.errors import ConfigError

_HOW = (
    "pass --warehouse PATH, set LAKEHOUSE_WAREHOUSE, or call it from a dbt project whose profile is of type lakehouse"
)


def find_project_dir(options: GlobalOptions) -> Path:
    """The folder of ``dbt_project.yml``: as told, else the nearest at or above the working folder, else that itself."""
    told = options.project_dir or os.environ.get("DBT_PROJECT_DIR")
    if told:
        folder = Path(told).expanduser().absolute()
        if not folder.is_dir():
            raise ConfigError(f"the project folder {told!r} does not exist")
        return folder
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "dbt_project.yml").exists()), here)


def find_output(options: GlobalOptions, project_dir: Path) -> dict[str, Any]:
    """The rendered output that profile and target lead to. Raises ``ConfigError`` with how to name a lake otherwise."""
    file = _profiles_file(options)
    profiles = _load(file) if file is not None else {}
    profiles.pop("config", None)
    name = options.profile or os.environ.get("DBT_PROFILE") or _project_profile(project_dir) or _only_one(profiles)
    if name is None:
        raise ConfigError(f"no lake was named: {_HOW}")
    profile = profiles.get(name)
    if not isinstance(profile, Mapping):
        where = f"in {file}" if file is not None else "and there is no profiles.yml"
        known = f"; it has {', '.join(map(repr, profiles))}" if profiles else ""
        raise ConfigError(f"no profile {name!r} {where}{known}; or {_HOW}")
    return _output(profile, str(name), options.target or os.environ.get("DBT_TARGET"))


def _profiles_file(options: GlobalOptions) -> Path | None:
    told = options.profiles_dir or os.environ.get("DBT_PROFILES_DIR")
    if told:
        file = Path(told).expanduser() / "profiles.yml"
        if not file.is_file():
            raise ConfigError(f"there is no profiles.yml in {told!r}")
        return file
    for folder in (Path.cwd(), Path.home() / ".dbt"):
        if (folder / "profiles.yml").is_file():
            return folder / "profiles.yml"
    return None


def _load(file: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped] # late: not every command reads a profile

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file} holds no mapping of names to values")
    return content


def _project_profile(project_dir: Path) -> str | None:
    file = project_dir / "dbt_project.yml"
    if not file.is_file():
        return None
    name = _load(file).get("profile")
    return None if name is None else str(_render(name, "profile"))


def _only_one(profiles: Mapping[str, Any]) -> str | None:
    names = [name for name, profile in profiles.items() if isinstance(profile, Mapping) and _lakehouse_targets(profile)]
    if len(names) > 1:
        raise ConfigError(f"{len(names)} profiles have a lakehouse ({', '.join(names)}); choose one with --profile")
    return names[0] if names else None


def _lakehouse_targets(profile: Mapping[str, Any]) -> list[str]:
    outputs = profile.get("outputs")
    if not isinstance(outputs, Mapping):
        return []
    return [
        str(name)
        for name, output in outputs.items()
        if isinstance(output, Mapping) and output.get("type") == "lakehouse"
    ]


def _output(profile: Mapping[str, Any], name: str, target: str | None) -> dict[str, Any]:
    target = target or str(_render(profile.get("target", "default"), "target"))
    outputs = profile.get("outputs")
    output = outputs.get(target) if isinstance(outputs, Mapping) else None
    if not isinstance(output, Mapping):
        known = ", ".join(map(repr, outputs)) if isinstance(outputs, Mapping) else "none"
        raise ConfigError(f"profile {name!r} has no target {target!r}; its targets: {known}")
    rendered = {str(key): _render_all(value, str(key)) for key, value in output.items()}
    if rendered.get("type") != "lakehouse":
        others = _lakehouse_targets(profile)
        instead = f"choose a lakehouse with --target: {', '.join(others)}" if others else f"to use a lake, {_HOW}"
        raise ConfigError(f"target {target!r} of profile {name!r} is of type {rendered.get('type')!r}; {instead}")
    return rendered


def _render_all(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _render_all(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_render_all(item, key) for item in value]
    return _render(value, key)


def _render(value: Any, key: str) -> Any:
    """A value with its Jinja worked out; text without any is not even looked at by Jinja."""
    if not isinstance(value, str) or not ("{{" in value or "{%" in value or "{#" in value):
        return value
    from jinja2 import StrictUndefined, TemplateError  # late: most profiles hold no Jinja
    from jinja2.sandbox import SandboxedEnvironment

    native = _Native()
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    environment.filters.update(as_text=str, as_native=native, as_bool=native, as_number=native)
    try:
        text = environment.from_string(value).render(env_var=_env_var)
    except (TemplateError, TypeError) as error:
        raise ConfigError(f"profile key {key!r} cannot be rendered: {value!r}: {error}") from error
    return native.evaluate(text) if native.used else text


def _env_var(name: str, default: Any = None) -> Any:
    value = os.environ.get(name, default)
    if value is None:
        raise ConfigError(f"the profile reads the environment variable {name!r}, which is not set")
    return value


class _Native:
    """dbt's ``as_native``, ``as_bool`` and ``as_number``: the text becomes the value that it spells."""

    used = False

    def __call__(self, value: Any) -> Any:
        self.used = True
        return value

    def evaluate(self, text: str) -> Any:
        import ast

        spelled = {"true": "True", "false": "False"}.get(text.strip(), text.strip())
        try:
            return ast.literal_eval(spelled)
        except (ValueError, SyntaxError):
            return text
