"""Who may do what: roles, and the names of branches and tags that their patterns cover.

A pattern is a name in which ``*`` stands for any text (slashes too), ``?`` for one character, and ``{user}`` for the name
of who asks. Nothing else in it is special. Run branches are covered by no pattern: they belong to their run.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from dbt.adapters.lakehouse.catalog.refs import is_run_name
from dbt.adapters.lakehouse.errors import ConfigError

USER = "{user}"
"""In a pattern: the name of who asks."""

_USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")
_LITERAL = re.compile(r"[^*?{/]+")


class Capability(enum.StrEnum):
    """What a role may do beside reading, writing and merging branches."""

    TAGS = "tags"
    """Create and delete tags."""
    PROTECT = "protect"
    """Set and lift the protection of branches."""
    EXTERNAL_ACCESS = "external_access"
    """Run models that read what lies outside the lake, where the service allows it."""
    INTERNET_ACCESS = "internet_access"
    """Run Python models that reach the network, where the service allows it."""
    JOBS = "jobs"
    """See, cancel and replay the jobs of others, and end their runs."""
    ADMIN = "admin"
    """Make and revoke tokens, read the audit log, collect garbage."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who asks: a user in a role, by a token. ``token`` is the token's id, never its secret."""

    user: str
    role: str
    token: str


@dataclass(frozen=True, kw_only=True)
class Role:
    """What users of a role may do, by patterns of names.

    ``read``: branches and tags. ``write``: branches to create, commit to, move and delete. ``create``: branches to create;
    who created one through the service may also write it. ``merge``: branches to merge into, beside those that it may
    write. ``protected`` says that writing and merging extend to protected branches. With ``granted_only`` no table or view
    is read but those granted to the user or role, and nothing is written.
    """

    name: str
    read: tuple[str, ...] = ("*",)
    write: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    protected: bool = False
    may: frozenset[Capability] = frozenset()
    granted_only: bool = False

    @property
    def reads_everything(self) -> bool:
        """Whether no branch, tag or commit is kept from this role."""
        return "*" in self.read and not self.granted_only


OWN_BRANCHES = ("dev/{user}", "dev/{user}/*", "{user}/*")

READER = Role(name="reader")
DEVELOPER = Role(
    name="developer", write=OWN_BRANCHES, may=frozenset({Capability.EXTERNAL_ACCESS, Capability.INTERNET_ACCESS})
)
PUBLISHER = Role(
    name="publisher",
    write=("*",),
    merge=("*",),
    protected=True,
    may=DEVELOPER.may | {Capability.TAGS},
)
ADMIN = Role(name="admin", write=("*",), merge=("*",), protected=True, may=frozenset(Capability))
BUILT_IN = (READER, DEVELOPER, PUBLISHER, ADMIN)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The roles of a service, and the branches that count as protected whether or not the catalog says so."""

    roles: Mapping[str, Role] = field(default_factory=lambda: {role.name: role for role in BUILT_IN})
    protected: tuple[str, ...] = ("main",)

    def role(self, name: str) -> Role:
        """A role by name. Raises ``ConfigError``."""
        found = self.roles.get(name)
        if found is None:
            raise ConfigError(f"there is no role {name!r}; the roles are {', '.join(self.roles)}")
        return found

    def check_user(self, user: str) -> None:
        """Raise ``ConfigError`` unless a user may be called so.

        A name that patterns begin with would make ``{user}/*`` cover what belongs to others (``dev/*``, ``run/*``).
        """
        if not _USER_NAME.fullmatch(user):
            raise ConfigError(
                f"{user!r} cannot name a user; use up to 100 letters, digits and '_.@+-', beginning with a letter or digit"
            )
        if user.lower() in self._reserved:
            raise ConfigError(f"{user!r} cannot name a user: branches that belong to others begin so; choose another")

    @property
    def _reserved(self) -> frozenset[str]:
        return _reserved(tuple(self.roles.values()), self.protected)

    def may_read(self, principal: Principal, name: str) -> bool:
        """Whether a branch or tag of that name may be read."""
        return _covers(self.role(principal.role).read, principal, name)

    def may_write(self, principal: Principal, branch: str, *, protected: bool = False, own: bool = False) -> bool:
        """Whether a branch may be committed to, moved or deleted. ``protected`` is the catalog's flag.

        ``own`` says that this user created it.
        """
        role = self.role(principal.role)
        return self._opens(role, branch, protected) and (own or _covers(role.write, principal, branch))

    def may_create(self, principal: Principal, branch: str) -> bool:
        """Whether a branch of that name may be created."""
        role = self.role(principal.role)
        return self._opens(role, branch, flag=False) and _covers((*role.write, *role.create), principal, branch)

    def may_merge(self, principal: Principal, branch: str, *, protected: bool = False, own: bool = False) -> bool:
        """Whether a branch may be merged into."""
        role = self.role(principal.role)
        return self._opens(role, branch, protected) and (own or _covers((*role.write, *role.merge), principal, branch))

    def may(self, principal: Principal, capability: Capability) -> bool:
        """Whether the role has a capability."""
        return capability in self.role(principal.role).may

    def is_protected(self, branch: str, *, flag: bool) -> bool:
        """Whether a branch takes merges alone, from those who may: by the catalog's flag or by name."""
        return flag or any(_compiled(pattern, "").fullmatch(branch) for pattern in self.protected)

    def _opens(self, role: Role, branch: str, flag: bool) -> bool:
        return role.protected or not self.is_protected(branch, flag=flag)


def check_pattern(pattern: str) -> None:
    """Raise ``ConfigError`` for a pattern that cannot be meant."""
    if not pattern or not pattern.isprintable():
        raise ConfigError(f"{pattern!r} is not a pattern of names; write dev/{{user}}/* for instance")
    rest = pattern.replace(USER, "")
    wrong = next((character for character in rest if character in "{}[]!\\ "), None)
    if wrong is not None:
        raise ConfigError(
            f"pattern {pattern!r} holds {wrong!r}; '*', '?' and {USER} are what is special in a pattern, "
            "the rest are characters of a name"
        )
    if is_run_name(pattern):
        raise ConfigError(f"pattern {pattern!r} names run branches; those belong to who runs, whatever patterns say")


def _covers(patterns: tuple[str, ...], principal: Principal, name: str) -> bool:
    if is_run_name(name):
        return False
    return any(_compiled(pattern, principal.user).fullmatch(name) for pattern in patterns)


@lru_cache(maxsize=4096)
def _compiled(pattern: str, user: str) -> re.Pattern[str]:
    special = {"*": ".*", "?": ".", USER: re.escape(user)}
    parts = re.split(r"(\*|\?|\{user\})", pattern)
    return re.compile("".join(special.get(part, re.escape(part)) for part in parts), re.DOTALL)


@lru_cache(maxsize=16)
def _reserved(roles: tuple[Role, ...], protected: tuple[str, ...]) -> frozenset[str]:
    """First parts of names that patterns spell out, in lower case."""
    patterns = [*protected, *(p for role in roles for p in (*role.read, *role.write, *role.create, *role.merge))]
    firsts = {match[0].lower() for pattern in patterns if (match := _LITERAL.match(pattern))}
    return frozenset({"run", "service", *firsts})
