"""Files of this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dbt.adapters.lakehouse.errors import ConfigError, StorageError
from dbt.adapters.lakehouse.storage.base import LOCAL, StoredFile

_FOLDERS_AT_ONCE = 8


class LocalStorage:
    """Files of this machine.

    The path of a warehouse is taken as it is and refused when it holds ``?`` or ``#``, at which URI parsers cut.

    Nothing is fsynced. A process that dies at any instant loses nothing, since the page cache is the kernel's; a machine
    that loses power may lose the last seconds, and so does the catalog beside it (SQLite in WAL mode with
    ``synchronous=NORMAL``). An fsync of ``metadata.json`` alone would promise nothing, as DuckDB does not sync the
    Parquet files it refers to, and syncing both costs several times what a small table takes to write.
    """

    def read(self, uri: str) -> bytes:
        """See Storage."""
        try:
            return Path(self._path(uri)).read_bytes()
        except FileNotFoundError as error:
            raise StorageError(
                f"{uri} does not exist (any more); it was removed by hand or collected as garbage, "
                "read the table at another commit or build it again"
            ) from error
        except OSError as error:
            raise _failed("read", uri, error) from error

    def write(self, uri: str, content: bytes) -> None:
        """See Storage."""
        path = self._path(uri)
        try:
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileNotFoundError:
                handle = _in_folder(
                    os.path.dirname(path),  # noqa: PTH120
                    lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666),
                )
        except OSError as error:
            raise _failed("write", uri, error) from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
        except BaseException as error:
            Path(path).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _failed("write", uri, error) from error
            raise

    def delete(self, uri: str) -> None:
        """See Storage."""
        try:
            Path(self._path(uri)).unlink(missing_ok=True)
        except OSError as error:
            raise _failed("delete", uri, error) from error

    def delete_prefix(self, uri: str) -> None:
        """See Storage."""
        try:
            shutil.rmtree(self._path(uri))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("delete", uri, error) from error

    def list_prefix(self, uri: str) -> Iterator[StoredFile]:
        """See Storage."""
        folders = [self._path(uri)]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                            continue
                        found = entry.stat()
                        yield StoredFile(uri=LOCAL + entry.path, size=found.st_size, modified=found.st_mtime)
            except FileNotFoundError:
                continue  # somebody else deleted it between the listing of its parent and now
            except OSError as error:
                raise _failed("list", LOCAL + folder, error) from error

    def delete_files(self, uris: Sequence[str], *, below: str) -> None:
        """See Storage."""
        # Imported late: what only reads need not pay.
        from concurrent.futures import ThreadPoolExecutor

        top, folders = self._path(below), defaultdict[str, list[str]](list)
        for uri in uris:
            folders[os.path.dirname(self._path(uri))].append(uri)  # noqa: PTH120
        # A network's file system, above all, takes its time for each.
        with ThreadPoolExecutor(_FOLDERS_AT_ONCE, "lakehouse-delete") as pool:
            for done in [pool.submit(self._empty, folder, found, top) for folder, found in folders.items()]:
                done.result()

    def _empty(self, folder: str, uris: Sequence[str], top: str) -> None:
        for uri in uris:
            self.delete(uri)
        while folder.startswith(f"{top}/") and _remove_if_empty(folder):
            folder = os.path.dirname(folder)  # noqa: PTH120

    def tidy(self, uri: str, before: float) -> int:
        """See Storage."""
        try:
            return _remove_empty(self._path(uri), before, top=True)
        except OSError as error:
            raise _failed("tidy up", uri, error) from error

    def exists(self, uri: str) -> bool:
        """See Storage."""
        return os.path.lexists(self._path(uri))

    def duckdb_path(self, uri: str, *, folder: bool = False) -> str:
        """See Storage."""
        path = self._path(uri)
        if folder:
            try:
                _make_folder(path)
            except OSError as error:
                raise _failed("write", uri, error) from error
        return path

    @contextlib.contextmanager
    def filling(self, uri: str, private: Callable[[], str], *, kept: dict[str, str] | None = None) -> Iterator[str]:
        """See Storage."""
        if kept is None:
            yield self.duckdb_path(uri, folder=True)
            return
        target = self._path(uri)
        made = kept[uri] = self.duckdb_path(f"{LOCAL}{private()}/{Path(target).name}", folder=True)
        yield made
        try:
            _make_folder(os.path.dirname(target))  # noqa: PTH120
            shutil.copytree(made, target, copy_function=_link)
        except (OSError, shutil.Error) as error:
            raise _failed("write", uri, error if isinstance(error, OSError) else OSError(str(error))) from error

    @staticmethod
    def _path(uri: str) -> str:
        if not uri.startswith(LOCAL + "/"):
            raise StorageError(f"{uri!r} is no absolute file URI")
        if "?" in uri or "#" in uri:
            raise ConfigError(
                f"location {uri!r} holds '?' or '#', at which other Iceberg readers cut it off; "
                "keep the warehouse in a folder without them"
            )
        return uri[len(LOCAL) :]


_ATTEMPTS = 10


def _make_folder(path: str) -> None:
    """A folder, with those above it, which may just be removed because they were empty."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103  # the fixed cost of a small table counts
        except FileNotFoundError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return


def _in_folder(folder: str, make: Callable[[], int]) -> int:
    """What ``make`` gives once its folder is there, which may just be removed because it was empty."""
    for _ in range(_ATTEMPTS):
        _make_folder(folder)
        with contextlib.suppress(FileNotFoundError):
            return make()
    return make()


def _remove_if_empty(folder: str) -> bool:
    try:
        os.rmdir(folder)  # noqa: PTH106
    except OSError:
        return False
    return True


def _remove_empty(folder: str, before: float, *, top: bool = False) -> int:
    """Remove empty folders that nobody touched since a time: a younger one may be about to be written into."""
    try:
        # Before what is below it goes, since that counts as a change.
        touched = os.stat(folder).st_mtime  # noqa: PTH116
        with os.scandir(folder) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return 0
    count = sum(_remove_empty(path, before) for path in below)
    return count + int(not top and touched < before and _remove_if_empty(folder))


def _link(source: str, target: str) -> str:
    """The same file under a second name; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        shutil.copy2(source, target)
    return target


_NEXT_STEP = {
    errno.ENOSPC: "the disk is full, free some space (`lakehouse gc`) and run again",
    errno.EDQUOT: "the disk quota is used up, free some space (`lakehouse gc`) and run again",
    errno.EACCES: "permission is denied, give this user access to the folder",
    errno.EPERM: "permission is denied, give this user access to the folder",
    errno.EROFS: "the file system is read-only, choose another `warehouse`",
    errno.EEXIST: "it exists already and files are never overwritten, run again",
    errno.ENAMETOOLONG: "the name is too long for the file system, shorten the names of schema and table",
}


def _failed(verb: str, uri: str, error: OSError) -> StorageError:
    reason = _NEXT_STEP.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"cannot {verb} {uri}: {reason}")
