"""Environments of Python models: made by uv, shared over the base, kept by what they follow from."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import ConfigError, JobCancelled, PythonModelError
from dbt.adapters.lakehouse.jobs import python_env
from dbt.adapters.lakehouse.jobs.job import PythonCode, PythonNeeds
from dbt.adapters.lakehouse.jobs.python_env import Environments, normalised


def code(*packages: str, version: str | None = None) -> PythonCode:
    return PythonCode(code="", path="m.py", packages=packages, python_version=version)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv")


@pytest.fixture
def environments(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Environments:
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    return Environments(tmp_path / "environments")


def installed(folder: Path | None) -> set[str]:
    assert folder is not None
    return {path.name.partition("-")[0] for path in folder.glob("*.dist-info")}


def test_what_the_base_has_is_neither_duplicated_nor_shadowed(environments: Environments) -> None:
    made = environments.get(code("pandas==2.2.*"))
    assert made.overlay is not None
    assert made.folders == (made.overlay, *python_env.site_folders())
    assert "pandas" in installed(made.overlay)
    assert installed(made.overlay).isdisjoint({"numpy", "pyarrow", "duckdb"})


def test_no_environment_for_what_the_base_has_itself(environments: Environments, tmp_path: Path) -> None:
    assert environments.get(code()).overlay is None
    assert environments.get(code("pandas>=2", "PyArrow")).overlay is None
    assert not (tmp_path / "environments").exists()


def test_the_same_requirements_are_the_same_environment(environments: Environments) -> None:
    first = environments.get(code("humanize", "six"))
    assert environments.get(code("six", "Humanize")) == first
    assert environments.get(code("humanize")) != first


def test_it_works_without_the_network_once_the_cache_is_warm(
    environments: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments.get(code("humanize"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    assert "humanize" in installed(Environments(tmp_path / "others").get(code("humanize")).overlay)


@pytest.mark.parametrize(
    ("packages", "error", "says"),
    [
        (("duckdb==1.4.0",), PythonModelError, "duckdb==1.4.0"),
        (("pandas==99",), PythonModelError, "no version of pandas==99"),
        (("-r /etc/passwd",), ConfigError, "is no requirement"),
        (("six; os_name ==",), ConfigError, "is no requirement"),
        (("--index-url=http://127.0.0.1/",), ConfigError, "is no requirement"),
    ],
)
def test_requirements_that_cannot_be_met(
    environments: Environments, tmp_path: Path, packages: tuple[str, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        environments.get(code(*packages))
    assert list((tmp_path / "environments").glob("[!.]*/site-packages")) == []
    assert list((tmp_path / "environments").glob(".making-*")) == []


def test_a_service_builds_nothing_and_follows_no_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names an address"):
        normalised(["six @ https://example.com/six.whl"], wheels_only=True)


def test_without_uv_the_error_says_what_to_install(
    environments: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"pip install 'dbt-lakehouse\[python\]'"):
        environments.get(code("humanize"))


def test_two_at_once_make_one(environments: Environments, tmp_path: Path) -> None:
    found: list[Path | None] = []
    others = [environments, Environments(tmp_path / "environments")]
    threads = [threading.Thread(target=lambda e=e: found.append(e.get(code("humanize")).overlay)) for e in others]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert len(list((tmp_path / "environments").glob("*/site-packages"))) == 1


def test_cancel_stops_uv(environments: Environments) -> None:
    with pytest.raises(JobCancelled):
        environments.get(code("scikit-learn<1.5"), lambda: True)


def test_unused_ones_are_collected(environments: Environments) -> None:
    old, new = environments.get(code("humanize")), environments.get(code("humanize", "six<1.17"))
    assert old.overlay is not None
    assert new.overlay is not None
    month_ago = time.time() - 31 * 86400
    os.utime(old.overlay.parent, (month_ago, month_ago))
    assert environments.collect(now=True) == 1
    assert (old.overlay.exists(), new.overlay.exists()) == (False, True)
    assert environments.collect() == 0
    environments.get(code("humanize"))
    assert environments.collect(now=True, count=1) == 1


def test_bytecode_is_compiled_in_the_background_and_shared(environments: Environments) -> None:
    first = environments.get(code("humanize"))
    process = environments.compile(first)
    assert process is not None
    assert environments.compile(first) is None
    process.wait(30)
    assert first.overlay is not None
    assert list(first.overlay.rglob("*.pyc"))
    second = environments.get(code("humanize", "six<1.17"))
    assert second.overlay is not None
    assert list((second.overlay / "humanize").rglob("*.pyc"))


def needs(*packages: str) -> list[PythonNeeds]:
    return [PythonNeeds(packages=(package,)) for package in packages]


def test_prepare_makes_them_before_they_are_wanted(environments: Environments, tmp_path: Path) -> None:
    environments.make(needs("humanize", "humanize", "no-such-package-at-all"))
    assert len(list((tmp_path / "environments").glob("*/site-packages"))) == 1


def test_another_interpreter_has_an_environment_of_its_own(environments: Environments) -> None:
    other = next((v for v in ("3.12", "3.13", "3.11") if not sys.version.startswith(v) and available(v)), None)
    if other is None:
        pytest.skip("no second interpreter is installed")
    made = environments.get(code("six", version=other))
    assert len(made.folders) == 1
    assert {"duckdb", "pyarrow", "six"} <= installed(made.overlay)


def available(version: str) -> bool:
    try:
        python_env._interpreter(version)
    except ConfigError:
        return False
    return True


def test_an_interpreter_that_is_not_there(environments: Environments) -> None:
    with pytest.raises(ConfigError, match=r"python_version '3.99': no such interpreter"):
        environments.get(code(version="3.99"))


def test_the_folder_follows_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert python_env.default_folder() == tmp_path / "dbt-lakehouse" / "environments"
    shutil.rmtree(tmp_path)
