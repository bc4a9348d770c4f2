"""Which files of a project count."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbt.adapters.lakehouse.dev.places import places, target_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = (tmp_path / "project").resolve()
    for folder in ("models/staging", "macros", "target/compiled", "lake/shop", "shared", ".venv/lib"):
        (root / folder).mkdir(parents=True)
    (root / "shared" / "__init__.py").touch()
    (root / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    return root


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("models/orders.sql", True),
        ("models/staging/deep/schema.yml", True),
        ("models/score.py", True),
        ("models/fixture.csv", True),
        ("macros/twice.sql", True),
        ("shared/money.py", True),
        ("helpers.py", True),
        ("dbt_project.yml", True),
        ("packages.yml", True),
        ("seeds", True),  # a folder that is not there yet
        ("models/.orders.sql.swp", False),
        ("models/.#orders.sql", False),
        ("models/#orders.sql#", False),
        ("models/orders.sql~", False),
        ("models/4913", False),
        ("models/orders.sql___jb_tmp___", False),
        ("models/__pycache__/score.cpython-311.pyc", False),
        ("models/__pycache__/score.py", False),
        ("models/notes.txt", False),
        ("target/run/orders.sql", False),
        ("target/manifest.json", False),
        ("logs/dbt.log", False),
        ("dbt_packages/utils/macros/x.sql", False),
        ("lake/shop/orders.sql", False),
        ("lake/catalog.sqlite", False),
        ("setup.cfg", False),
        (".venv/lib/x.py", False),
    ],
)
def test_what_counts(root: Path, name: str, counts: bool) -> None:
    assert places(root).counts(root / name) is counts


def test_folders_that_are_moved_count(root: Path) -> None:
    found = places(root)
    assert found.counts(root / "models" / "staging")
    assert found.counts(root / "models" / "gone", deleted=True)
    assert not found.counts(root / "models" / "gone")
    assert not found.counts(root / "models" / ".git", deleted=True)


def test_folders_are_those_that_the_project_names(root: Path) -> None:
    (root / "dbt_project.yml").write_text(
        "name: shop\nmodel-paths: [sql, 'sql/marts', \"{{ env_var('X') }}\"]\ntarget-path: out\nlog-path: models/logs\n"
    )
    (root / "sql" / "marts").mkdir(parents=True)
    found = places(root)
    assert root / "sql" in found.trees
    assert root / "models" not in found.trees
    assert root / "sql" / "marts" not in found.trees, "it is watched with the folder around it"
    assert found.counts(root / "sql" / "marts" / "orders.sql")
    assert not found.counts(root / "models" / "orders.sql")
    assert not found.counts(root / "out" / "x.sql")
    assert target_folder(root) == root / "out"


def test_resources_may_stand_beside_the_project_file(root: Path) -> None:
    (root / "dbt_project.yml").write_text("name: shop\nmodel-paths: ['.']\n")
    found = places(root)
    assert found.trees == (root,)
    assert found.counts(root / "orders.sql")
    assert not found.counts(root / "target" / "compiled" / "orders.sql")


@pytest.mark.parametrize("text", ["name: [", "- 1", "", "\x00", "name: shop\nmodel-paths: {a: 1}\n"])
def test_a_project_file_that_is_wrong_leaves_what_dbt_takes_by_itself(root: Path, text: str) -> None:
    (root / "dbt_project.yml").write_text(text)
    assert places(root).counts(root / "models" / "orders.sql")
    assert target_folder(root) == root / "target"


def test_the_environment_names_the_target_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_TARGET_PATH", "elsewhere")
    assert target_folder(root) == root / "elsewhere"
    assert not places(root).counts(root / "elsewhere" / "x.sql")


def test_profiles_and_the_branch_that_is_checked_out(root: Path, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    found = places(root, profiles)
    assert found.counts(profiles / "profiles.yml")
    assert not found.counts(profiles / "other.yml")
    assert found.counts((tmp_path / ".git" / "HEAD").resolve())
    assert not found.counts((tmp_path / ".git" / "index").resolve())
    assert {root, profiles.resolve(), (tmp_path / ".git").resolve()} == set(found.folders)


def test_a_worktree_has_a_head_of_its_own(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "repository" / "worktrees" / "w"
    own.mkdir(parents=True)
    (root / ".git").write_text(f"gitdir: {own}\n")
    assert places(root).counts(own.resolve() / "HEAD")


def test_packages_that_lie_elsewhere_are_watched_there(root: Path, tmp_path: Path) -> None:
    package = (tmp_path / "package").resolve()
    package.mkdir()
    (root / "dbt_packages").mkdir()
    (root / "dbt_packages" / "ours").symlink_to(package)
    (root / "dbt_packages" / "theirs").mkdir()
    found = places(root)
    assert found.counts(package / "macros" / "x.sql")
    assert not found.counts(root / "dbt_packages" / "theirs" / "x.sql")


def test_places_differ_once_a_folder_is_there(root: Path) -> None:
    before = places(root)
    assert root / "seeds" in before.expected
    (root / "seeds").mkdir()
    after = places(root)
    assert after != before
    assert root / "seeds" in after.trees
