"""What an output of a profile shows of itself: never a secret."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from dbt.config.profile import Profile
from dbt.exceptions import DbtProfileError

from dbt.adapters.lakehouse.credentials import LakehouseCredentials
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.instance import load_extension

SECRET = "hunter2@x"


def credentials(**keys: Any) -> LakehouseCredentials:
    said = {"type": "lakehouse", "schema": "s", **({} if "service" in keys else {"warehouse": "./lake"}), **keys}
    found = Profile._credentials_from_profile(said, "shop", "dev")
    assert isinstance(found, LakehouseCredentials)
    return found


@pytest.mark.parametrize(
    "catalog",
    [
        "postgresql://lake:hunter2%40x@db.internal/lake",
        "postgresql://db.internal/lake?user=lake&password=hunter2&connect_timeout=3",
    ],
)
def test_the_password_of_the_catalog_is_not_in_what_dbt_shows_and_tells_jinja(catalog: str) -> None:
    made = credentials(catalog=catalog)
    shown = dict(made.connection_info(with_aliases=True))
    assert "hunter2" not in str(shown)
    assert "db.internal/lake" in shown["catalog"]
    assert made.as_profile()["catalog"] == catalog


@pytest.mark.parametrize(
    "keys",
    [
        {"secrets": {"type": "s3", "secret": SECRET}},
        {"secrets": [SECRET]},
        {"secrets": SECRET},
        {"storage_options": SECRET},
        {"storage_options": [SECRET]},
        {"settings": [f"s3_secret_access_key={SECRET}"]},
        {"attach": {"path": f"dbname=web password={SECRET}"}},
        {"attach": [f"dbname=web password={SECRET}"]},
        {"plugins": SECRET},
        {"plugins": [SECRET]},
        {"filesystems": {"fs": "gcs", "token": SECRET}},
        {"filesystems": [SECRET]},
        {"service": "http://127.0.0.1:1", "token": [SECRET]},
        {"service": f"http://anna:{SECRET}@127.0.0.1:1"},
        {"catalog": f"postgres://lake:{SECRET}@db/lake"},
        {"catalog": f"postgresql://lake:{SECRET}@db/lake"},
        {"catalog": f"postgresql://lake:{SECRET}\x07@db/lake"},
    ],
    ids=lambda keys: "-".join(keys),
)
def test_what_is_wrong_with_a_key_is_said_without_its_secret(keys: dict[str, Any]) -> None:
    with pytest.raises(DbtProfileError) as raised:
        credentials(**keys)
    assert "hunter2" not in str(raised.value)
    assert f"profile key {next(reversed(keys))!r}" in str(raised.value)


def test_what_dbt_makes_of_an_output_is_right_in_its_own_eyes() -> None:
    for made in (credentials(), credentials(service="http://127.0.0.1:1", token="lh_x")):
        made.validate(made.to_dict(omit_none=True))


def test_the_password_of_a_repository_of_extensions_is_not_said() -> None:
    with duckdb.connect() as connection, pytest.raises(ConfigError, match="'nosuch' cannot be loaded") as raised:
        load_extension(connection, "nosuch", "http://me:hunter2@127.0.0.1:1")
    assert "hunter2" not in str(raised.value)
