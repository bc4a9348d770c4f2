"""What a Jinja template names, found without rendering it."""

from __future__ import annotations

from dataclasses import dataclass

ATTRIBUTES = {
    "adapter": {"dispatch", "quote", "type"},
    "modules": {"re", "itertools"},
    "api": {"Relation", "Column"},
    "exceptions": {"raise_compiler_error", "raise_not_implemented"},
    "model": {"name", "alias", "schema", "database", "unique_id", "resource_type", "config", "columns", "tags", "meta"},
    "builtins": {"ref", "source", "config"},
}
"""What may be used of objects that can do more."""
HASHED = frozenset({"var", "target", "env_var"})
"""Names whose values are part of the key where they are used."""
EACH_TIME = frozenset({"dbt_metadata_envs", "invocation_id", "run_started_at", "thread_id"})
"""Names whose values are others with each invocation."""
NEVER_OWN = frozenset(
    (
        *ATTRIBUTES,
        *HASHED,
        *EACH_TIME,
        "context",
        "flags",
        "graph",
        "invocation_args_dict",
        "load_agate_table",
        "load_result",
        "selected_resources",
    )
)
"""Names of dbt that a template does not take for its own variables."""
_UNSURE_FILTERS = frozenset({"random"})


@dataclass(frozen=True)
class Named:
    """What a template names: plain names, names with an attribute (``adapter.quote``), names of dispatched macros, variables
    of the environment. ``own`` are those of the plain names that it sets itself, at least on some way through it.
    ``unclear`` if it uses something of which names do not tell.
    """

    plain: tuple[str, ...] = ()
    dotted: tuple[tuple[str, str], ...] = ()
    dispatched: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    unclear: bool = False


def named(text: str) -> Named:
    """What a template names. One that cannot be parsed is unclear."""
    if "{{" not in text and "{%" not in text:
        return Named()
    import jinja2
    from dbt_common.clients.jinja import get_environment
    from jinja2 import meta, nodes

    try:
        tree = get_environment(None).parse(text)
        undeclared = meta.find_undeclared_variables(tree)
    except (jinja2.TemplateError, NotImplementedError):
        return Named(unclear=True)
    # What is set in a block (``{% set x %}…{% endset %}``), or on one way only, is among the undeclared.
    own = {found.name for found in tree.find_all(nodes.Name) if found.ctx == "store"} & undeclared - NEVER_OWN
    dotted: set[tuple[str, str]] = set()
    dispatched: set[str] = set()
    environment: set[str] = set()
    unclear = any(
        found.name in _UNSURE_FILTERS or any(getattr(one, "value", None) in _UNSURE_FILTERS for one in found.args)
        for found in tree.find_all(nodes.Filter)
    )
    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    attributed: set[int] = set()
    for attribute in tree.find_all(nodes.Getattr):
        if isinstance(attribute.node, nodes.Name) and attribute.node.name in undeclared:
            attributed.add(id(attribute.node))
            dotted.add((attribute.node.name, attribute.attr))
            # Under another name, what it is called with does not show.
            unclear = unclear or (attribute.attr == "dispatch" and id(attribute) not in called)
    for call in tree.find_all(nodes.Call):
        first = call.args[0] if call.args else None
        literal = first.value if isinstance(first, nodes.Const) and isinstance(first.value, str) else None
        if isinstance(call.node, nodes.Getattr) and call.node.attr == "dispatch":
            unclear = unclear or literal is None
            dispatched.add(literal or "")
        elif isinstance(call.node, nodes.Name) and call.node.name == "env_var":
            unclear = unclear or literal is None
            environment.add(literal or "")
    plain = {
        found.name
        for found in tree.find_all(nodes.Name)
        if id(found) not in attributed and found.name in undeclared and found.ctx == "load"
    }
    passed_on = [found for found in tree.find_all(nodes.Name) if found.name == "env_var" and id(found) not in called]
    return Named(
        plain=tuple(sorted(plain)),
        dotted=tuple(sorted(dotted)),
        dispatched=tuple(sorted(dispatched)),
        environment=tuple(sorted(environment)),
        own=tuple(sorted(own)),
        unclear=unclear or bool(passed_on),
    )
