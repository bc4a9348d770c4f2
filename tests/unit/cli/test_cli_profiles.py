from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import GlobalOptions
from dbt.adapters.lakehouse.cli.profiles import find_output, find_project_dir
from dbt.adapters.lakehouse.errors import ConfigError

PROFILES = """
config: {send_anonymous_usage_stats: false}
shop:
  target: "{{ env_var('SHOP_TARGET', 'dev') }}"
  outputs:
    dev: {type: lakehouse, warehouse: ./lake, schema: shop}
    prod:
      type: lakehouse
      warehouse: "{{ env_var('SHOP_LAKE') }}/lake"
      threads: "{{ env_var('SHOP_THREADS', '4') | as_number }}"
      reuse: "{{ 'true' | as_bool }}"
      settings: {timezone: "{{ env_var('SHOP_ZONE', '007') }}"}
    duck: {type: duckdb, path: x.duckdb}
other:
  outputs:
    default: {type: duckdb, path: x.duckdb}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder with nothing in them, and no settings in the environment."""
    for name in (
        "DBT_PROFILES_DIR",
        "DBT_PROJECT_DIR",
        "DBT_PROFILE",
        "DBT_TARGET",
        "LAKEHOUSE_CATALOG",
        "LAKEHOUSE_SERVICE",
        "LAKEHOUSE_WAREHOUSE",
        "SHOP_LAKE",
    ):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def write(folder: Path, profiles: str = PROFILES, project: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profiles.yml").write_text(profiles)
    if project is not None:
        (folder / "dbt_project.yml").write_text(project)
    return folder


def output(**options: Any) -> dict[str, Any]:
    found = GlobalOptions(**options)
    return find_output(found, find_project_dir(found))


def test_profiles_are_looked_for_as_dbt_does(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def only(schema: str) -> str:
        return f"p: {{outputs: {{default: {{type: lakehouse, warehouse: x, schema: {schema}}}}}}}"

    write(home / ".dbt", only("home"))
    assert output()["schema"] == "home"
    write(Path.cwd(), only("cwd"))
    assert output()["schema"] == "cwd"
    monkeypatch.setenv("DBT_PROFILES_DIR", str(write(tmp_path / "env", only("env"))))
    assert output()["schema"] == "env"
    assert output(profiles_dir=str(write(tmp_path / "told", only("told"))))["schema"] == "told"


def test_the_project_names_the_profile_from_any_folder_below(monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(Path.cwd(), project="profile: shop")
    below = root / "models" / "staging"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.setenv("DBT_PROFILES_DIR", str(root))
    cli = Cli()
    assert cli.settings.warehouse == f"file://{root}/lake"
    assert cli.default_schema == "shop"


def test_without_a_project_the_only_lakehouse_is_taken() -> None:
    write(Path.cwd())
    assert output()["schema"] == "shop"


def test_several_lakehouses_ask_for_one() -> None:
    write(Path.cwd(), PROFILES + "third:\n  outputs: {default: {type: lakehouse, warehouse: x}}\n")
    with pytest.raises(ConfigError, match=r"\(shop, third\); choose one with --profile"):
        output()
    assert output(profile="third")["warehouse"] == "x"


def test_only_the_target_in_use_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path.cwd())
    assert output()["warehouse"] == "./lake"
    with pytest.raises(ConfigError, match="environment variable 'SHOP_LAKE', which is not set"):
        output(target="prod")
    monkeypatch.setenv("SHOP_LAKE", "/data")
    monkeypatch.setenv("SHOP_TARGET", "prod")
    assert output() == {
        "type": "lakehouse",
        "warehouse": "/data/lake",
        "threads": 4,
        "reuse": True,
        "settings": {"timezone": "007"},
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"profile": "none"}, "no profile 'none'"),
        ({"target": "none"}, "no target 'none'; its targets: 'dev', 'prod', 'duck'"),
        ({"target": "duck"}, "is of type 'duckdb'; choose a lakehouse with --target: dev, prod"),
        ({"profile": "other"}, "is of type 'duckdb'; to use a lake, pass --warehouse"),
        ({"profiles_dir": "nowhere"}, "no profiles.yml in 'nowhere'"),
        ({"project_dir": "nowhere"}, "project folder 'nowhere' does not exist"),
    ],
)
def test_what_is_not_there(options: dict[str, str], says: str) -> None:
    write(Path.cwd())
    with pytest.raises(ConfigError) as caught:
        output(**options)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("profiles", "says"),
    [
        ("", "no lake was named"),
        ("a: [", "cannot be read"),
        ("- a", "holds no mapping"),
        ("p: {outputs: {default: {type: lakehouse, warehouse: '{{ nope() }}'}}}", "'warehouse' cannot be rendered"),
        ("p: {outputs: {default: {type: lakehouse, warehouse: '{{ x'}}}", "cannot be rendered"),
    ],
)
def test_files_that_make_no_sense(profiles: str, says: str) -> None:
    write(Path.cwd(), profiles)
    with pytest.raises(ConfigError) as caught:
        output()
    assert says in str(caught.value)


def test_no_profile_at_all_says_how_to_name_a_lake() -> None:
    with pytest.raises(ConfigError, match="pass --warehouse PATH, set LAKEHOUSE_WAREHOUSE"):
        output()


def test_a_warehouse_beats_profiles_and_options_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path.cwd())
    here = Path.cwd()
    monkeypatch.setenv("LAKEHOUSE_WAREHOUSE", "elsewhere")
    assert Cli().settings.warehouse == f"file://{here}/elsewhere"
    assert Cli().branch == "main"
    monkeypatch.setenv("LAKEHOUSE_CATALOG", "postgresql://db/lakes")
    assert Cli().settings.catalog == "postgresql://db/lakes"
    cli = Cli()
    cli.options.target = "dev"
    assert cli.settings.catalog == f"sqlite:///{here}/lake/catalog.sqlite"
    assert cli.settings.warehouse == f"file://{here}/lake"
    cli = Cli()
    cli.options.warehouse, cli.options.catalog = "~/told", "sqlite:///c.db"
    assert cli.settings.warehouse == f"file://{Path.home()}/told"
    assert cli.settings.catalog == f"sqlite:///{here}/c.db"
