"""Where results go: one JSON document, or tables and lines for people.

On a terminal tables have rules and colours and fold to its width; in a pipe they are plain, with nothing folded or cut.
Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Cell = str | tuple[str, str]
"""Text, or text and its style."""

ID, NAME, DIM, GOOD, BAD, CHANGED = "yellow", "bold cyan", "dim", "green", "red", "yellow"
"""Styles: commit ids, names, what matters less, added or passed, dropped or failed, changed or going on."""

_PIPE_WIDTH = 1_000_000
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_ESCAPES |= {ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand to the ``right``, ``short`` cells (ids, times) are not folded."""

    title: str
    right: bool = False
    short: bool = False


class Output:
    """Prints in the way that was asked for; all of it into ``into``, as into a pipe, if that is given."""

    def __init__(self, *, json: bool = False, no_color: bool = False, into: IO[str] | None = None) -> None:
        self.json = json
        self.is_terminal = into is None and sys.stdout.isatty()
        self._no_color = no_color
        self._into = into

    @cached_property
    def _console(self) -> Console:
        return self._make_console(stderr=False)

    @property
    def height(self) -> int:
        """How many lines the terminal shows."""
        return self._console.height

    @property
    def width(self) -> int:
        """How many characters a line takes; a pipe's has no end."""
        return self._console.width

    @cached_property
    def errors(self) -> Console:
        """Where notes, progress and errors go."""
        return self._make_console(stderr=True)

    def _make_console(self, *, stderr: bool) -> Console:
        from rich.console import Console  # late: JSON needs none of it

        stream = self._into or (sys.stderr if stderr else sys.stdout)
        return Console(
            file=self._into,
            stderr=stderr,
            highlight=False,
            emoji=False,
            markup=False,
            no_color=True if self._no_color else None,
            width=None if stream.isatty() else _PIPE_WIDTH,
        )

    def document(self, value: Any, file: IO[str] | None = None) -> None:
        """The one JSON document of this invocation; laid out for people on a terminal."""
        indent = 2 if file is None and self.is_terminal else None
        file = file or self._into or sys.stdout
        file.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")

    def line(self, *cells: Cell) -> None:
        """One line of text, not folded by the program."""
        self._console.print(_join(cells), soft_wrap=True)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
        """A table; every cell is shown whole."""
        self._console.print(_grid(columns, rows, ruled=self._console.is_terminal))

    def code(self, text: str, language: str) -> None:
        """Code to the letter; on a terminal in colours."""
        shown = _text(text, keep_lines=True)
        if self._console.is_terminal:
            from rich.syntax import Syntax

            shown = Syntax("", language, theme="ansi_dark", background_color="default").highlight(shown.plain)
            shown.rstrip()
        self._console.print(shown, soft_wrap=True)

    @contextlib.contextmanager
    def live(self, columns: Sequence[Column]) -> Iterator[Callable[[Iterable[Sequence[Cell]]], None]]:
        """A table on the terminal that each call of what is yielded draws anew."""
        from rich.live import Live

        with Live(console=self._console, auto_refresh=False) as screen:
            yield lambda rows: screen.update(_grid(columns, rows, ruled=True), refresh=True)

    @contextlib.contextmanager
    def working(self, text: str) -> Iterator[Callable[[str], None]]:
        """A line that is there while work goes on, with what each call of what is yielded says; none in a pipe."""
        if not self._console.is_terminal:
            yield lambda _: None
            return
        with self._console.status(_text((text, DIM))) as status:
            yield lambda words: status.update(_text((words, DIM)))

    def plain_table(self, file: IO[str], names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table as a pipe would get it, into a file."""
        from rich.console import Console

        console = Console(file=file, width=_PIPE_WIDTH, no_color=True, highlight=False, emoji=False, markup=False)
        console.print(_grid([Column(name) for name in names], rows, ruled=False))

    def note(self, text: str) -> None:
        """A remark beside the result; not part of it."""
        self.errors.print(_text((f"note: {text}", DIM)), soft_wrap=True)

    def error(self, message: str) -> None:
        """What went wrong."""
        text = _text(("error: ", "bold red"), keep_lines=True)
        text.append_text(_text(message, keep_lines=True))
        self.errors.print(text, soft_wrap=True)


def _grid(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, ruled: bool) -> Table:
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD if ruled else None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        grid.add_column(_text(column.title), justify=justify, overflow="fold", no_wrap=column.short)
    for row in rows:
        grid.add_row(*(_text(cell) for cell in row))
    return grid


def _text(cell: Cell, *, keep_lines: bool = False) -> Text:
    from rich.text import Text

    text, style = (cell, "") if isinstance(cell, str) else cell
    escapes = {code: to for code, to in _ESCAPES.items() if code != ord("\n")} if keep_lines else _ESCAPES
    return Text(text.translate(escapes), style=style)


def _join(cells: Iterable[Cell]) -> Text:
    from rich.text import Text

    return Text.assemble(*(_text(cell) for cell in cells))
