"""How a pool and its worker processes talk: frames of a JSON head and a binary body over a socket pair."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_SIZES = struct.Struct("!IQ")
_BUFFER = 4 << 20
_CHUNK = 1 << 20
_SMALL = 1 << 16
_PARTS = 512
_FREE_SECONDS = 0.1
_LONGEST_HEAD = 256 << 20


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets with large buffers."""
    ends = socket.socketpair()
    for end in ends:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    return ends


class Channel:
    """One end. Any thread may send; one at a time receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._unread = 0

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def send(self, head: Mapping[str, Any], *body: Any) -> None:
        """Send a frame; the parts of its body are sent one after the other, without a copy. Raises ``OSError``."""
        text = json.dumps(head).encode()
        parts = [memoryview(part).cast("B") for part in body]
        size = sum(part.nbytes for part in parts)
        with self._sending:
            self._send([memoryview(_SIZES.pack(len(text), size) + text), *parts])

    def send_if_free(self, head: Mapping[str, Any]) -> None:
        """Send a frame without a body, unless another thread has been sending for a while."""
        if self._sending.acquire(timeout=_FREE_SECONDS):
            try:
                text = json.dumps(head).encode()
                self._send([memoryview(_SIZES.pack(len(text), 0) + text)])
            finally:
                self._sending.release()

    def _send(self, parts: list[memoryview]) -> None:
        while parts:
            sent = self._socket.sendmsg(parts[:_PARTS])
            while parts and sent >= parts[0].nbytes:
                sent -= parts.pop(0).nbytes
            if parts:
                parts[0] = parts[0][sent:]

    def receive(self) -> tuple[dict[str, Any], int]:
        """The head of the next frame and the size of its body, to be read before the next. Raises ``EOFError``."""
        assert self._unread == 0
        sizes = bytearray(_SIZES.size)
        self._fill(memoryview(sizes))
        head_size, self._unread = _SIZES.unpack(sizes)
        if head_size > _LONGEST_HEAD:
            raise ValueError(f"a frame's head of {head_size} bytes")
        head = bytearray(head_size)
        self._fill(memoryview(head))
        return json.loads(head), self._unread

    def body(self) -> Any:
        """What is left of the body, as a buffer."""
        if self._unread < _SMALL:
            small = bytearray(self._unread)
            self.into(memoryview(small))
            return small
        import pyarrow as pa

        # Not a bytearray: that would be filled with zeros first.
        large = pa.allocate_buffer(self._unread)
        self.into(memoryview(large).cast("B"))
        return large

    def into(self, view: memoryview) -> int:
        """Read as much of the body as fits; the number of bytes that came."""
        size = min(view.nbytes, self._unread)
        self._fill(view[:size])
        self._unread -= size
        return size

    def _fill(self, view: memoryview) -> None:
        while view.nbytes:
            try:
                count = self._socket.recv_into(view)
            except ConnectionError as error:
                raise EOFError from error
            if not count:
                raise EOFError
            view = view[count:]

    def shutdown(self) -> None:
        """Let both ends see the end, whoever waits in them."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


class ChunkWriter:
    """A file to write to, whose bytes become the bodies of ``chunk`` frames of about a megabyte."""

    closed = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._parts: list[Any] = []
        self._size = 0

    def write(self, data: Any) -> int:
        """Take some bytes, which must not change afterwards."""
        size = memoryview(data).nbytes
        if size:
            self._parts.append(data)
            self._size += size
            if self._size >= _CHUNK:
                self.flush()
        return size

    def flush(self) -> None:
        """Send what is there."""
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._channel.send({"kind": "chunk"}, *parts)

    def close(self) -> None:
        """Send the rest."""
        self.flush()


class ChunkReader:
    """A file to read from: the bodies of the frames that ``heads`` receives, until it ends."""

    closed = False

    def __init__(self, channel: Channel, heads: Iterator[int]) -> None:
        self._channel = channel
        self._heads = heads
        self._left = 0

    def chunks(self) -> Iterator[Any]:
        """Chunk by chunk, as they come."""
        for size in self._heads:
            if size:
                yield self._channel.body()

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, fewer at the end alone."""
        return bytes(memoryview(self.read_buffer(size)))

    def read_buffer(self, size: int) -> pa.Buffer:
        """The same without a copy; what Arrow calls."""
        import pyarrow as pa

        buffer = pa.allocate_buffer(size)
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < size:
            if not self._left:
                self._left = next(self._heads, 0)
                if not self._left:
                    break
            count = self._channel.into(view[filled:])
            filled += count
            self._left -= count
        return buffer if filled == size else buffer.slice(0, filled)

    def readable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Nothing is held."""
