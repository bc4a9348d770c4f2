"""Patterns and roles: what they cover, and what they must never cover."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.service.policy import (
    ADMIN,
    DEVELOPER,
    PUBLISHER,
    READER,
    Capability,
    Policy,
    Principal,
    Role,
    check_pattern,
)

names = st.text("abdev/-_.{}*?", min_size=1, max_size=12)
patterns = st.lists(st.sampled_from(["*", "?", "{user}", "a", "b", "d", "e", "v", "/", "-", "."]), max_size=6).map(
    lambda parts: "".join(parts) or "*"
)
users = st.sampled_from(["ann", "a", "a.b", "b+c", "x@y.z"])


def who(role: str, user: str = "ann") -> Principal:
    return Principal(user=user, role=role, token="t")


def policy_of(*roles: Role) -> Policy:
    return Policy(roles={role.name: role for role in roles})


@given(patterns, names, users)
def test_a_pattern_covers_what_fnmatch_says_with_the_user_written_out(pattern: str, name: str, user: str) -> None:
    role = Role(name="r", read=(pattern,))
    expected = fnmatch.fnmatchcase(name, pattern.replace("{user}", user)) and not name.startswith("run/")
    assert policy_of(role).may_read(who("r", user), name) == expected


@given(st.text(max_size=20))
def test_text_of_any_kind_is_a_pattern_or_refused(text: str) -> None:
    try:
        check_pattern(text)
    except ConfigError:
        return
    policy_of(Role(name="r", write=(text,))).may_write(who("r"), "main")


@given(
    st.text(max_size=12) | st.sampled_from(["*", "?", "a/b", "{user}", "dev", "main", "run", "service", "Dev", "MAIN"])
)
def test_no_users_name_widens_a_pattern(user: str) -> None:
    policy = Policy()
    try:
        policy.check_user(user)
    except ConfigError:
        return
    principal = who("developer", user)
    for name in ("main", "dev", "dev/other-one", "dev/other-one/x", "other-one/x", "run/1", "main/x", "prod"):
        assert not policy.may_write(principal, name), (user, name)
    assert policy.may_write(principal, f"dev/{user}")


@pytest.mark.parametrize("user", ["dev", "DEV", "main", "run", "service", "", "*", "a/b", "-a", "a b", "ä", "x" * 101])
def test_names_that_users_cannot_have(user: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a user"):
        Policy().check_user(user)


def test_a_roles_own_pattern_reserves_the_names_that_it_begins_with() -> None:
    policy = policy_of(DEVELOPER, Role(name="release", write=("releases/*",)))
    with pytest.raises(ConfigError, match="cannot name a user"):
        policy.check_user("releases")


def test_run_branches_are_covered_by_no_pattern() -> None:
    policy = Policy()
    for role in policy.roles:
        assert not policy.may_read(who(role), "run/1")
        assert not policy.may_write(who(role), "run/1")
        assert not policy.may_merge(who(role), "run/1")


@pytest.mark.parametrize(
    ("role", "branch", "flag", "write", "merge"),
    [
        (READER.name, "dev/ann", False, False, False),
        (DEVELOPER.name, "dev/ann", False, True, True),
        (DEVELOPER.name, "dev/ann/x", False, True, True),
        (DEVELOPER.name, "ann/x", False, True, True),
        (DEVELOPER.name, "dev/annabel", False, False, False),
        (DEVELOPER.name, "dev/bob", False, False, False),
        (DEVELOPER.name, "ann/x", True, False, False),
        (DEVELOPER.name, "main", False, False, False),
        (PUBLISHER.name, "dev/bob", False, True, True),
        (PUBLISHER.name, "main", False, True, True),
        (PUBLISHER.name, "prod", True, True, True),
        (ADMIN.name, "prod", True, True, True),
    ],
)
def test_the_roles_that_every_service_has(role: str, branch: str, flag: bool, write: bool, merge: bool) -> None:
    policy = Policy()
    assert policy.may_read(who(role), branch)
    assert policy.may_write(who(role), branch, protected=flag) == write
    assert policy.may_merge(who(role), branch, protected=flag) == merge


def test_main_is_protected_though_the_catalog_does_not_say_so() -> None:
    role = Role(name="r", write=("*",), merge=("*",))
    policy = policy_of(role)
    assert not policy.may_write(who("r"), "main")
    assert not policy.may_merge(who("r"), "main")
    assert not policy.may_create(who("r"), "main")
    assert policy.may_write(who("r"), "other")


def test_only_admins_have_every_capability() -> None:
    policy = Policy()
    for capability in Capability:
        assert policy.may(who("admin"), capability)
    assert {c for c in Capability if policy.may(who("reader"), c)} == set()
    assert not policy.may(who("publisher"), Capability.ADMIN)
    assert not policy.may(who("publisher"), Capability.PROTECT)


def test_a_role_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no role 'boss'; the roles are reader, developer, publisher, admin"):
        Policy().role("boss")
