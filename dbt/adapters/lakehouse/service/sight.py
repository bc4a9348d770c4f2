"""What a role that does not read everything can see: names by pattern, commits by what leads to them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog.refs import branch_of_run, is_run_name, parse, suggestion
from dbt.adapters.lakehouse.errors import InvalidRef, RefNotFound

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.base import Catalog
    from dbt.adapters.lakehouse.catalog.model import Commit

_STRETCH = 256
_REMEMBERED = 100_000


class Reach:
    """The commits that heads lead to. Extended while heads move on, worked out anew when one moves elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: frozenset[str] = frozenset()
        self._commits: set[str] = set()

    def of(self, catalog: Catalog, heads: Iterable[str]) -> set[str]:
        """All commits that the heads lead to, themselves included. Not to be changed by the caller."""
        wanted = frozenset(heads)
        with self._lock:
            if wanted == self._heads:
                return self._commits
            added, met = _walk(catalog, wanted, self._commits)
            # Heads that the walk did not meet, nor stand inside what it met, may have been left behind.
            if self._heads <= met:
                self._commits = self._commits | added
            else:
                self._commits, _ = _walk(catalog, wanted, set())
            self._heads = wanted
            return self._commits


def _walk(catalog: Catalog, heads: Iterable[str], known: set[str]) -> tuple[set[str], set[str]]:
    """Commits that heads lead to and that are not known, and the known ones at which the walk ended."""
    found: set[str] = set()
    met: set[str] = set()
    todo = list(heads)
    while todo:
        at = todo.pop()
        if at in known:
            met.add(at)
            continue
        if at in found:
            continue
        for commit in catalog.log(at, _STRETCH):
            if commit.id in known or commit.id in found:
                met.update({commit.id} & known)
                break
            found.add(commit.id)
            todo.extend(commit.parents)
    return found, met


class Sight:
    """What one user was shown already: it stays visible to them, so that a run reads one state to its end."""

    def __init__(self) -> None:
        self.reach = Reach()
        self._lock = threading.Lock()
        self._shown: OrderedDict[str, None] = OrderedDict()

    def show(self, ids: Iterable[str]) -> None:
        """Remember ids of commits or contents that were given out; the oldest are forgotten."""
        with self._lock:
            for one in ids:
                self._shown[one] = None
                self._shown.move_to_end(one)
            while len(self._shown) > _REMEMBERED:
                self._shown.popitem(last=False)

    def was_shown(self, one: str) -> bool:
        """Whether an id was given out."""
        with self._lock:
            return one in self._shown


def resolve_visible(catalog: Catalog, text: str, visible: Iterable[str], commits: Callable[[], set[str]]) -> Commit:
    """The commit that a ref expression leads to, for somebody who sees only some names and what they lead to.

    What is not visible is not found, in the words for what does not exist. Steps need no check of their own: they lead
    from what is visible to what that leads to.
    """
    expression = parse(text)
    base = expression.base
    if is_run_name(base):
        base = branch_of_run(base, visible) or base
    if base not in visible:
        if not expression.is_commit:
            raise not_found(base, visible, of=text)
        base = _only(base, commits(), visible, of=text)
    try:
        return catalog.resolve(base + text[len(expression.base) :])
    except RefNotFound as error:
        if not expression.steps:  # gone since: the catalog's own words may suggest names that are not visible
            raise not_found(expression.base, visible, of=text) from None
        raise RefNotFound(str(error).replace(base, expression.base)) from None


def _only(prefix: str, commits: set[str], visible: Iterable[str], *, of: str) -> str:
    found = [commit for commit in commits if commit.startswith(prefix.lower())]
    if not found:
        raise not_found(prefix, visible, of=of)
    if len(found) > 1:
        raise InvalidRef(f"commit id {prefix!r} is ambiguous: {len(found)} commits start so; write more digits")
    return found[0]


def not_found(name: str, visible: Iterable[str], *, of: str | None = None) -> RefNotFound:
    """The error for a name that nothing visible answers to; the words are the catalog's own."""
    where = "" if of in (None, name) else f" (in {of!r})"
    return RefNotFound(f"no branch, tag or commit {name!r}{where}{suggestion(name, visible)}")
