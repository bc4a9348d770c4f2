"""ALTER TABLE as a value."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.jobs.job import Alteration
from dbt.adapters.lakehouse.run.alterations import Retype, parse_alteration

identifiers = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=10)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@settings(deadline=None)
@given(identifiers, identifiers)
def test_any_name_passes_unchanged(one: str, other: str) -> None:
    a, b = quoted(one), quoted(other)
    assert parse_alteration(f"RENAME TO {a}") == one
    assert parse_alteration(f"rename column {a} TO {b}") == Alteration(what="rename_column", column=one, to=other)
    assert parse_alteration(f"RENAME {a} TO {b}") == Alteration(what="rename_column", column=one, to=other)
    assert parse_alteration(f"ADD COLUMN {a} INT[]") == Alteration(what="add_column", column=one, to="INT[]")
    assert parse_alteration(f"DROP {a}") == Alteration(what="drop_column", column=one)
    assert parse_alteration(f"ALTER {a} SET NOT NULL") == Alteration(what="set_required", column=one, required=True)
    assert parse_alteration(f"ALTER COLUMN {a} DROP NOT NULL") == Alteration(what="set_required", column=one)
    assert parse_alteration(f"ALTER {a} TYPE text") == Retype(column=a, expression=f"{a}::text")


@settings(deadline=None)
@given(st.text(alphabet="abc \"'(),;-1", max_size=30), st.sampled_from(["", "ADD ", "ALTER ", "RENAME ", "DROP "]))
def test_strange_text_is_no_error_here(text: str, head: str) -> None:
    parse_alteration(head + text)


@pytest.mark.parametrize(
    ("body", "wish"),
    [
        ("ADD COLUMN IF NOT EXISTS a DECIMAL(10, 2)", Alteration(what="add_column", column="a", to="DECIMAL(10, 2)")),
        ("ADD a INT DEFAULT 1 + 1", Retype(column="a", expression="(1 + 1)::INT", is_new=True)),
        ("ALTER a SET DATA TYPE DATE USING b || 'x'", Retype(column="a", expression="(b || 'x')::DATE")),
        ("DROP COLUMN IF EXISTS a CASCADE", Alteration(what="drop_column", column="a")),
        ("ADD PRIMARY KEY (a)", None),
        ("ADD CONSTRAINT c CHECK (a > 1)", None),
        ("ADD a INT NOT NULL", None),
        ("ALTER a SET DEFAULT 1", None),
        ("SET SCHEMA other", None),
        ("", None),
    ],
)
def test_forms(body: str, wish: object) -> None:
    assert parse_alteration(body) == wish
