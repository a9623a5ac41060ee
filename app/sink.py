"""A file that is sent while it is being written."""

import io
from typing import Any

PIECE_BYTES = 64 * 1024


class Sink(io.RawIOBase):
    """Where a ZIP file is written to, and taken from piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._size += len(data)
        return len(data)

    @property
    def is_full(self) -> bool:
        return self._size >= PIECE_BYTES

    def drain(self) -> bytes:
        data, self._pieces, self._size = b"".join(self._pieces), [], 0
        return data
