"""What a look ahead found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that would break: in which node, where in the user's file as far as that can be told, and why.

    ``line`` is a line of ``file``, ``compiled_line`` one of the compiled SQL, ``text`` what stands there.
    """

    node: str
    kind: str
    name: str
    message: str
    file: str = ""
    line: int | None = None
    compiled_line: int | None = None
    text: str = ""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        if self.line is not None:
            return f"{self.file}:{self.line}"
        if self.compiled_line is not None:
            return f"{self.file}, compiled line {self.compiled_line}"
        return self.file

    def shown(self) -> list[str]:
        """The message in lines, and the line it is about."""
        at = [f"{self.line or self.compiled_line} | {self.text}"] if self.text else []
        return [line.expandtabs(4) for line in (*_shortened(self.message.splitlines()), *at)]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found, how many nodes were looked at, and of how many nothing can be told, by the reason why.

    ``compiled`` are copies of the nodes that could be compiled.
    """

    findings: tuple[Finding, ...] = ()
    nodes: int = 0
    unchecked: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    compiled: Mapping[str, Any] = field(default_factory=dict)

    def skipped(self) -> str:
        """How many nodes could not be checked ahead, and why; empty if all could."""
        if not self.unchecked:
            return ""
        reasons = Counter(reason for _, reason in self.unchecked).most_common()
        head = f"{len(self.unchecked)} of {self.nodes} nodes could not be checked ahead: "
        if len(reasons) == 1:
            return head + reasons[0][0]
        return head + "; ".join(f"{reason} ({count})" for reason, count in reasons)

    def problems(self) -> str:
        """``3 problems in 2 of 40 nodes``."""
        nodes = len({finding.node for finding in self.findings})
        return f"{len(self.findings)} problem{'s'[: len(self.findings) != 1]} in {nodes} of {self.nodes} nodes"

    def lines(self) -> list[str]:
        """All findings as lines of text."""
        said: list[str] = []
        for finding in self.findings:
            said.append(f"{finding.kind} {finding.name} ({finding.place})")
            said.extend(f"  {line}" for line in finding.shown())
            said.append("")
        if self.unchecked:
            said += [self.skipped(), ""]
        return said


_CANDIDATES = 5


def _shortened(lines: list[str]) -> list[str]:
    """DuckDB's message; of all the functions that it might have been, some."""
    listed = [number for number, line in enumerate(lines) if line.startswith("\t") and " -> " in line]
    gone = set(listed[_CANDIDATES:])
    if not gone:
        return lines
    kept = [line for number, line in enumerate(lines) if number not in gone]
    kept.insert(listed[_CANDIDATES - 1] + 1, f"\t… and {len(gone)} more")
    return kept
