"""Names in SQL text, by its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from dbt.adapters.lakehouse.jobs.tokens import Token, cut, split, tokenize

__all__ = ["Token", "called_chains", "cut", "mentions", "name_chains", "split", "tokenize"]


def mentions(sql: str, name: str) -> int:
    """How often a name stands in a text, as an identifier or within a string."""
    folded = name.lower()
    return sum(
        (token.is_name and token.name.lower() == folded)
        or (token.kind == "string_const" and folded in token.text.lower())
        for token in tokenize(sql)
    )


def called_chains(tokens: Sequence[Token]) -> set[tuple[str, ...]]:
    """Every dotted chain of one to three names with a parenthesis after it: all that could be a call of a function."""
    chains: set[tuple[str, ...]] = set()
    chain: list[str] = []
    before = ""
    for token in tokens:
        if token.text == "(" and chain and before != ".":
            chains.add(tuple(chain[-3:]))
        if token.is_name:
            chain = [*chain, token.name] if before == "." else [token.name]
        elif token.text != ".":
            chain = []
        before = token.text
    return chains


def name_chains(tokens: Sequence[Token]) -> set[tuple[str, ...]]:
    """Every dotted chain of one to three names: all that could be a relation, and more."""
    chains: set[tuple[str, ...]] = set()
    index = 0
    while index < len(tokens):
        if not tokens[index].is_name:
            index += 1
            continue
        chain = [tokens[index].name]
        while index + 2 < len(tokens) and tokens[index + 1].text == "." and tokens[index + 2].is_name:
            chain.append(tokens[index + 2].name)
            index += 2
        chains.update(tuple(chain[:length]) for length in range(1, min(len(chain), 3) + 1))
        index += 1
    return chains
