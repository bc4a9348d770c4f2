"""SQL text as tokens: quotes, comments, dollar strings and other scripts must not confuse it."""

from __future__ import annotations

import time

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.run.normal import normal
from dbt.adapters.lakehouse.run.statements import Reference, reads
from dbt.adapters.lakehouse.run.tokens import name_chains, split, tokenize

NASTY = st.text(alphabet="ab \"'$;-/*\n\t().,é漢🦆_1E\\[]{}", max_size=40)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


identifiers = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=12)
words = st.sampled_from(["select", "x", "FROM", "größe", "t1", "Where"])
comments = st.sampled_from(["-- a ; b 'c\n", "/* ; \" ' */", "/* -- */", " ", "\n", "\t"])
pieces = st.one_of(
    words,
    identifiers.map(quoted),
    identifiers.map(literal),
    st.sampled_from(["$$a ; 'b$$", '$tag$ ; $$ " $tag$', "1.5", "e'a\\';b'"]),
)


@settings(deadline=None)
@given(NASTY)
def test_no_text_breaks_it(text: str) -> None:
    for token in tokenize(text):
        assert token.end >= token.start
    split(text)
    name_chains(tokenize(text))


@settings(deadline=None)
@given(st.lists(st.tuples(pieces, comments), min_size=1, max_size=6))
def test_tokens_are_the_pieces_without_what_stands_between(parts: list[tuple[str, str]]) -> None:
    # A comma between them: string literals that only a line break divides are one.
    text = "".join(f"{piece} {gap} , {gap}" for piece, gap in parts)
    assert [token.text for token in tokenize(text) if token.text != ","] == [piece for piece, _ in parts]


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(pieces, comments), min_size=1, max_size=4), min_size=1, max_size=4), comments)
def test_statements_are_split_where_they_end(statements: list[list[tuple[str, str]]], before: str) -> None:
    texts = ["".join(f"{piece} {gap} , " for piece, gap in parts) for parts in statements]
    found = split(f"{before} ; ;" + ";".join(texts) + ";;")
    assert [[t.text for t in tokenize(one)] for one in found] == [[t.text for t in tokenize(one)] for one in texts]


@settings(deadline=None)
@given(identifiers)
def test_a_quoted_identifier_gives_its_name_back(name: str) -> None:
    (token,) = tokenize(quoted(name))
    assert token.is_name
    assert token.name == name
    assert token.word == ""


@settings(deadline=None)
@given(st.lists(identifiers, min_size=1, max_size=3))
def test_dotted_names_are_chains(chain: list[str]) -> None:
    tokens = tokenize("SELECT * FROM " + " . ".join(map(quoted, chain)))
    assert tuple(chain) in name_chains(tokens)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" ; ; ", 0),
        ("-- only a comment", 0),
        ("/* a */;", 0),
        ("select 1", 1),
        ("select ';'; select 2", 2),
        ("'open", 1),
        ("select 1; 'open", 2),
    ],
)
def test_empty_statements_are_left_out(text: str, count: int) -> None:
    assert len(split(text)) == count


@pytest.mark.parametrize(
    "text",
    [
        "select 1 -- ; \n; select 2",
        "select $$;$$; select 2",
        'select 1 as ";"; select 2',
        "select e'\\';'; select 2",
        "select 'a'\n'b'; select 2",
    ],
)
def test_what_is_split_runs_as_the_whole_did(text: str) -> None:
    whole = duckdb.execute(text).fetchall()
    for statement in split(text):
        rows = duckdb.execute(statement).fetchall()
    assert rows == whole
    assert len(split(text)) == 2


@pytest.mark.parametrize(
    "text", ["'a' -- c ' \n 'b''c'", "'a'\n'b'", "e'a\\'b'", "a/* /* */ */", "x'ab'  ", "$a$ $$ $a$ "]
)
def test_a_token_ends_where_it_ends(text: str) -> None:
    (token,) = tokenize(text)
    assert token.text == text.split("/*")[0].rstrip()


def test_depth_counts_brackets_of_all_kinds() -> None:
    assert [(t.text, t.depth) for t in tokenize("a ( [ {b} ] )")] == [
        ("a", 0),
        ("(", 0),
        ("[", 1),
        ("{", 2),
        ("b", 3),
        ("}", 2),
        ("]", 1),
        (")", 0),
    ]


def test_a_text_of_ten_megabytes_is_read_by_its_tokens_within_seconds():
    rows = ",\n".join(f"({i}, '{'x' * 200}')" for i in range(50_000))
    sql = f"select * from s.other join (values {rows}) as t(a, b) using (a)"
    assert len(sql) > 10_000_000
    began = time.process_time()
    found = reads(sql)
    form = normal(sql, lambda reference: "known" if reference.name == "other" else None)
    assert time.process_time() - began < 20
    assert Reference(schema="s", name="other") in found.relations
    assert not found.exact
    assert not form.exact


def test_a_long_text_in_normal_form_has_no_layout():
    rows = ",\n".join(f"({i}, '{'x' * 200}')" for i in range(6_000))
    sql = f"select * from (values {rows}) as t(a, b)"
    form = normal(sql, lambda _: None).text
    assert normal(f"/* said before it */\n{sql} -- and after", lambda _: None).text == form
    assert normal(sql.replace("(7, ", "(70000, "), lambda _: None).text != form
