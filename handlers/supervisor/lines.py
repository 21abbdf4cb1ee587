"""One line of up to 32 MiB from a socket, read piece by piece, so that nobody else waits for it."""

from __future__ import annotations

import asyncio

from handlers.supervisor.protocol import LINE_LIMIT, ProtocolError

PIECE = 256 * 1024  # bytes that are taken at a time; the stream itself never holds more than twice that


class LineReader:
    """Lines of a stream. After an error the stream is in the middle of a line: drop the connection.

    The pieces of a line are joined once, at its end; each is searched once. How long a line may take is the caller's
    to limit.
    """

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._rest = b""  # a piece, of which everything before ``_at`` was given out
        self._at = 0

    def at_eof(self) -> bool:
        return self._stream.at_eof()

    async def line(self) -> bytes:
        """The next line without its end. Raises ``EOFError`` and, for one that is too long, ``ProtocolError``."""
        pieces: list[bytes] = []
        size, piece, at = 0, self._rest, self._at
        while True:
            end = piece.find(b"\n", at)
            if end >= 0:
                self._rest, self._at = piece, end + 1
                pieces.append(piece[at:end])
                return b"".join(pieces)
            pieces.append(piece[at:])
            size, at = size + len(piece) - at, 0
            if size > LINE_LIMIT:
                raise ProtocolError(f"a line of more than {LINE_LIMIT >> 20} MiB")
            piece = await self._stream.read(PIECE)
            if not piece:
                raise EOFError
