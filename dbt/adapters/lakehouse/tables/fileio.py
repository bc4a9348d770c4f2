"""pyiceberg's view of our storage: the two file classes its Avro readers and writers ask for.

pyiceberg's own ``pyiceberg.io.pyarrow`` takes seconds to import and a millisecond per small file.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import io
from types import TracebackType

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from dbt.adapters.lakehouse.storage import storage_for


class _Input(InputFile):
    def __len__(self) -> int:
        return len(storage_for(self.location).read(self.location))

    def exists(self) -> bool:
        return storage_for(self.location).exists(self.location)

    def open(self, seekable: bool = True) -> InputStream:
        del seekable
        return io.BytesIO(storage_for(self.location).read(self.location))


class _Pending(io.BytesIO):
    """Collects a file and writes it in one piece when it is closed; dropped when an exception passes."""

    def __init__(self, owner: _Output) -> None:
        super().__init__()
        self._owner = owner

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            super().close()
        else:
            self.close()

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._owner.store(content)


class _Output(OutputFile):
    _size = 0

    def __len__(self) -> int:
        return self._size

    def exists(self) -> bool:
        return storage_for(self.location).exists(self.location)

    def to_input_file(self) -> InputFile:
        return _Input(self.location)

    def create(self, overwrite: bool = False) -> OutputStream:
        del overwrite  # locations are unique; the storage refuses to overwrite in any case
        return _Pending(self)

    def store(self, content: bytes) -> None:
        """Write the collected bytes."""
        storage_for(self.location).write(self.location, content)
        self._size = len(content)


class StorageFileIO(FileIO):
    """A FileIO over ``storage_for``."""

    def new_input(self, location: str) -> InputFile:
        """See FileIO."""
        return _Input(location)

    def new_output(self, location: str) -> OutputFile:
        """See FileIO."""
        return _Output(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """See FileIO."""
        uri = location if isinstance(location, str) else location.location
        storage_for(uri).delete(uri)


IO = StorageFileIO()
