"""Sessions that stand in the documentation: read from a page, typed into a shell, compared with what the page shows.

``python tests/functional/lakehouse/docs_session.py docs/branches.md`` types a page's session and writes what the commands
print into the page. A line of ``  …`` in a page stands for any number of lines. Ids are others each time: where a command of the
page names one that was shown before, the one that was printed in its place is typed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_CUT = "  …"
_TAKES = 300
_ID = re.compile(r"\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[0-9a-f]*[0-9])[0-9a-f]{8,40})\b")
_VARIES = (
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|\+00:00|Z)?", "TIME"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"(\b(a|an|\d+) (second|minute|hour)s? ago\b|\bjust now\b)", "AGO"),
    (r"\b\d+(\.\d+)? ?(ms|s|seconds?)\b", "SECONDS"),
    (r"\b\d[\d,.]* ?([kM]?B|bytes)\b", "BYTES"),
    (r"\b\d+ macros\b", "MACROS"),
    (r"\b\d+\.\d+\.\d+\b", "VERSION"),
    (r"[─━.]{2,}", ""),
    (r"\s+", " "),
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command as it is typed, and the lines that the page shows after it."""

    command: str
    shown: tuple[str, ...]


def steps(page: str) -> list[Step]:
    """The commands of a page, in order."""
    return [step for block in _BLOCK.finditer(page) for step in _steps(block["body"])]


def _steps(body: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        first, *lines = part.rstrip("\n").split("\n")
        more = 0
        while more < len(lines) and lines[more].startswith("> "):
            more += 1
        command = "\n".join([first, *(line[2:] for line in lines[:more])])
        yield Step(command=command, shown=tuple(lines[more:]))


def typed(command: str, folder: Path) -> str:
    """What a command prints, on both of its streams."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "LAKEHOUSE_"))}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "NO_COLOR": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_NO_VERSION_CHECK": "true",
        "DBT_LOG_FORMAT": "text",
        "DBT_USE_COLORS": "false",
        "USER": "ann",
        "LOGNAME": "ann",
        "PYTHONUNBUFFERED": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TAKES,
        check=False,
    )
    # dbt's log carries the time before each line.
    return re.sub(r"^\d\d:\d\d:\d\d  ", "", done.stdout, flags=re.MULTILINE)


def alike(shown: tuple[str, ...], printed: str) -> dict[str, str] | None:
    """The ids that were printed, by those that a page shows in their places; None if something else was printed.

    Times, durations and sizes may differ.
    """
    lines = [line for line in shown if line.strip()]
    wanted = "".join(".*?" if line == _CUT else _pattern(line) for line in lines)
    said = "".join(f"{_plain(line)}\n" for line in printed.split("\n") if line.strip())
    found = re.fullmatch(wanted, said, re.DOTALL)
    if found is None:
        return None
    return dict(zip(_ID.findall("\n".join(line for line in lines if line != _CUT)), found.groups(), strict=True))


def _pattern(line: str) -> str:
    texts = [re.escape(text) for text in _ID.split(_plain(line))]
    return rf"({_ID.pattern})".join(texts) + r"\n"


def _plain(line: str) -> str:
    for pattern, name in _VARIES:
        line = re.sub(pattern, name, line)
    return line.strip()


def with_ids(command: str, known: dict[str, str]) -> str:
    """A command with the ids of this time in the place of those that the page shows, whole or their first characters."""

    def now(found: re.Match[str]) -> str:
        text = found.group()
        return next((new[: len(text)] for old, new in known.items() if old.startswith(text)), text)

    return _ID.sub(now, command)


def main(file: Path) -> None:
    """Write what the commands of a page print into it; what the page cuts stays cut where the rest is alike."""
    page = file.read_text(encoding="utf-8")
    known: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:

        def renewed(block: re.Match[str]) -> str:
            return f"```console\n{''.join(_renewed(step, Path(folder), known) for step in _steps(block['body']))}```"

        page = _BLOCK.sub(renewed, page)
    file.write_text(page, encoding="utf-8")


def _renewed(step: Step, folder: Path, known: dict[str, str]) -> str:
    command = with_ids(step.command, known)
    printed = typed(command, folder)
    print(f"$ {command}\n{printed}", end="", flush=True)
    same = alike(step.shown, printed)
    known.update(same or {})
    if same is not None and _CUT in step.shown:
        lines = [with_ids(line, known) for line in step.shown]
    else:
        lines = [line.rstrip() for line in printed.split("\n") if line.strip()]
    return "".join(f"{line}\n" for line in ["$ " + command.replace("\n", "\n> "), *lines])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
