"""What a job leaves on its connection, which decides whether the next session may have it."""

from __future__ import annotations

from dbt.adapters.lakehouse.jobs.job import Append, Create, Describe, Job, Query
from dbt.adapters.lakehouse.jobs.tokens import split, tokenize

_READING = frozenset({"select", "with", "from", "values", "summarize", "describe"})

_LASTING = ("setseed", "pivot")
"""What a SELECT may hold that lasts: the state of ``random()``, and the types that DuckDB makes for a PIVOT's columns."""


def leaves_nothing(job: Job) -> bool:
    """Whether a job that went well leaves its connection as it found it."""
    action = job.action
    if job.definitions or job.setup or job.external_access or getattr(action, "python", None) is not None:
        return False
    if not isinstance(action, Query | Create | Append | Describe):
        return False
    functions = [item.function for item in job.inputs if item.function is not None]
    if any(function.language == "python" for function in functions):
        return False
    texts = [(action.sql or "").lower(), *(item.sql.lower() for item in job.inputs if item.sql is not None)]
    texts += [signature.body.lower() for function in functions for signature in function.signatures]
    if any(word in text for word in _LASTING for text in texts):
        return False
    if not isinstance(action, Query):
        return True
    statements = split(action.sql)
    words = tokenize(statements[0])[:1] if len(statements) == 1 else []
    return bool(words) and words[0].word in _READING
