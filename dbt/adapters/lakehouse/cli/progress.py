"""A bar for an import, on a terminal."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from dbt.adapters.lakehouse.cli.output import Output
from dbt.adapters.lakehouse.cli.sources import Source
from dbt.adapters.lakehouse.cli.words import plural, size


@contextlib.contextmanager
def reading(out: Output, source: Source) -> Iterator[None]:
    """A bar of what was read of the files, where the system tells; else only the time."""
    if not out.errors.is_terminal:
        yield
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    before = _bytes_read()
    total = source.size_bytes if before is not None else None
    amount = DownloadColumn() if before is not None else TextColumn(size(source.size_bytes))
    label = TextColumn("{task.description}", markup=False)
    done = threading.Event()
    with Progress(
        SpinnerColumn(), label, BarColumn(), amount, TimeElapsedColumn(), console=out.errors, transient=True
    ) as bar:
        task = bar.add_task(f"reading {plural(len(source.files), 'file')}", total=total)

        def watch() -> None:
            while before is not None and not done.wait(0.1):
                bar.update(task, completed=min((_bytes_read() or 0) - before, source.size_bytes))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _bytes_read() -> int | None:
    """What this process has read from files so far; during an import that is the import. Linux alone counts it."""
    try:
        return int(Path("/proc/self/io").read_text().split(maxsplit=2)[1])
    except (OSError, ValueError, IndexError):
        return None
