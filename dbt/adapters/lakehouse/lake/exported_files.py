"""Files of this machine that are put in the place of others: a file at once, a folder as nearly so as can be."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Literal

from dbt.adapters.lakehouse.errors import ConfigError, StorageError

How = Literal["beside", "instead of own", "instead of all"]
"""What becomes of the files that stand in a folder: they stay, unless one has the same name; those of the last time go, and
there may be no others; all of them go."""

_OLD_SECONDS = 24 * 3600


def check(location: str, known: Collection[str], *, into_folder: bool, how: How) -> None:
    """Raise ``LakehouseError`` if files cannot be put at a location."""
    place = Path(location)
    if not into_folder and place.is_dir():
        raise ConfigError(
            f"{location} is a folder, and one file is to be written; name the file in it, or use partition_by"
        )
    if into_folder and place.is_file():
        raise ConfigError(
            f"{location} is a file, and a folder of files is to be written; remove it, or name another place"
        )
    if into_folder and how == "instead of own":
        others = sorted(_files(place).keys() - set(known))
        if others:
            raise ConfigError(
                f"the folder {location} holds files that this model did not write ({', '.join(others[:3])}); "
                "say options: {overwrite: true} to have all of them replaced, {overwrite_or_ignore: true} to keep them, "
                "or name a folder of its own"
            )
    above = place.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"nothing can be written to {location}: {above} is no folder, or may not be written to")


def replace(
    location: str,
    write: Callable[[str], None],
    intend: Callable[[Collection[str]], None],
    *,
    known: Collection[str],
    into_folder: bool,
    how: How,
    mark: str,
) -> dict[str, list[int]]:
    """Have ``write`` make a file (or folder) of another name, and put it at the location. The files, with size and time.

    Raises ``LakehouseError``; then nothing at the location has changed. ``intend`` is told the names of files before they
    are put in a folder. ``mark`` becomes a part of the names of files that are put beside others under names that say nothing.
    """
    place = Path(location)
    check(location, known, into_folder=into_folder, how=how)
    fresh = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _tidy(place)
        write(str(fresh))
        if into_folder:
            fresh.mkdir(exist_ok=True)  # of no rows DuckDB makes no folder
            names = {name: _marked(name, mark) if how == "beside" else name for name in _files(fresh)}
            intend(names.values())
            return _put_folder(fresh, place, names) if how == "beside" else _swap_folder(fresh, place)
        fresh.replace(place)
        return _files(place)
    except OSError as error:
        raise StorageError(
            f"files cannot be put at {location}: {error}; make room or allow it, and run again"
        ) from error
    finally:
        _remove(fresh)


def stand(location: str, known: Mapping[str, list[int]], *, into_folder: bool) -> bool:
    """Whether the files that were written stand as they were left, and what was written was one file or a folder."""
    place = Path(location)
    found = _files(place)
    right = place.is_dir() if into_folder else place.is_file()
    return right and all(found.get(name) == said for name, said in known.items())


def _marked(name: str, mark: str) -> str:
    """Written again, the same rows are to take the place of themselves."""
    return name.replace("rows_", f"rows_{mark}_") if Path(name).name.startswith("rows_") else name


def _put_folder(fresh: Path, place: Path, names: Mapping[str, str]) -> dict[str, list[int]]:
    for name, new in names.items():
        (place / new).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).replace(place / new)
    place.mkdir(exist_ok=True)
    found = _files(place)
    return {name: found[name] for name in names.values()}


def _swap_folder(fresh: Path, place: Path) -> dict[str, list[int]]:
    old = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.old")
    if place.exists():
        place.rename(old)
    try:
        fresh.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    _remove(old)
    return _files(place)


def _files(place: Path) -> dict[str, list[int]]:
    """Size and time of change of a file (by the name ""), or of all below a folder."""
    if place.is_file():
        said = place.stat()
        return {"": [said.st_size, said.st_mtime_ns]}
    found: dict[str, list[int]] = {}
    for file in place.rglob("*") if place.is_dir() else ():
        if file.is_file():
            said = file.stat()
            found[str(file.relative_to(place))] = [said.st_size, said.st_mtime_ns]
    return found


def _tidy(place: Path) -> None:
    """Remove what processes that were killed have left long ago."""
    for left in place.parent.glob(f".{_literally(place.name)}.????????.*"):
        with contextlib.suppress(OSError):
            if left.suffix in (".tmp", ".old") and time.time() - left.stat().st_mtime > _OLD_SECONDS:
                _remove(left)


def _literally(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
