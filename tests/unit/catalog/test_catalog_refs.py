from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.catalog.refs import (
    AtCommit,
    AtTime,
    Back,
    RefExpression,
    check_name,
    parse,
    suggestion,
)
from dbt.adapters.lakehouse.errors import InvalidRef


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "v1",
        "v1.2.3",
        "feature/login",
        "feature/#12",
        "run/3f2a91bc",
        "a",
        "abc",
        "grün",
        "表",
        "x_y-z",
        "deadbeeg",
        "feed",
        "b100",
    ],
)
def test_names_that_git_users_write_are_allowed(name):
    check_name(name)
    assert parse(name).base == name
    assert not parse(name).steps


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("a b", "' '"),
        ("a\tb", "'\\t'"),
        ("a\x00b", "'\\x00'"),
        ("a@b", "'@'"),
        ("a~1", "'~'"),
        ("a^", "'^'"),
        ("a:b", "':'"),
        ('a"b', "'\"'"),
        ("a'b", '"\'"'),
        ("a\\b", "'\\\\'"),
        ("a*", "'*'"),
        ("-a", "starts with '-'"),
        (".a", "starts with '.'"),
        ("/a", "starts with '/'"),
        ("a/", "ends in"),
        ("a.", "ends in"),
        ("a.lock", "ends in"),
        ("a//b", "holds"),
        ("a..b", "holds"),
        ("a/.b", "holds"),
        ("DEADBEEF", "commit id"),
        ("0123456789" * 4, "commit id"),
        ("x" * 201, "201 characters"),
    ],
)
def test_other_names_are_refused_and_the_message_says_why(name, why):
    with pytest.raises(InvalidRef, match=re.escape(why)):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "base", "is_commit", "steps"),
    [
        ("3f2a", "3f2a", True, ()),
        ("3F2A91", "3F2A91", True, ()),
        ("main~2", "main", False, (Back(count=2),)),
        ("main~", "main", False, (Back(count=1),)),
        ("main~~3", "main", False, (Back(count=1), Back(count=3))),
        ("main@3F2A91", "main", False, (AtCommit(prefix="3f2a91"),)),
        ("main@3f2a91~1", "main", False, (AtCommit(prefix="3f2a91"), Back(count=1))),
        ("main@2026-11-20", "main", False, (AtTime(time=datetime(2026, 11, 20, tzinfo=UTC)),)),
        ("main@2026-11-20T10:00", "main", False, (AtTime(time=datetime(2026, 11, 20, 10, tzinfo=UTC)),)),
        ("main@2026-11-20 10:00", "main", False, (AtTime(time=datetime(2026, 11, 20, 10, tzinfo=UTC)),)),
        ("main@2026-11-20T10:00+02:00", "main", False, (AtTime(time=datetime(2026, 11, 20, 8, tzinfo=UTC)),)),
        (
            "main@2026-11-20T10:00Z~1",
            "main",
            False,
            (AtTime(time=datetime(2026, 11, 20, 10, tzinfo=UTC)), Back(count=1)),
        ),
        ("main@2026", "main", False, (AtCommit(prefix="2026"),)),
    ],
)
def test_expressions(text, base, is_commit, steps):
    assert parse(text) == RefExpression(base=base, is_commit=is_commit, steps=steps)


@pytest.mark.parametrize(
    "text", ["", "@2026-11-20", "~1", "main@", "main@3f", "main@yesterday", "main@2026-13-01", "ma in~1"]
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(InvalidRef):
        parse(text)


@given(st.text(max_size=30))
def test_any_text_is_either_read_or_refused(text):
    try:
        expression = parse(text)
    except InvalidRef:
        return
    assert text.lower().startswith(expression.base.lower())


@given(st.text(max_size=30))
def test_a_name_that_is_allowed_reads_as_itself(name):
    try:
        check_name(name)
    except InvalidRef:
        return
    assert parse(name) == RefExpression(base=name, is_commit=parse(name).is_commit)


def test_a_misspelt_name_is_answered_with_those_that_look_alike():
    assert "'main'" in suggestion("mian", ["main", "dev", "run/main"])
    assert "run/" not in suggestion("mian", ["main", "run/mian"])
    assert "branch list" in suggestion("zzz", ["main"])
