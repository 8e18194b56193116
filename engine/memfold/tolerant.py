"""A NATS client that takes whatever a server can deliver.

nats-py stops reading, for good and without a word, at a subject that is not UTF-8 or at a header
block that is cut short. Any publisher can send those, and the stream delivers them again and again.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from nats.aio.client import Client

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_ESCAPED: Final = re.compile("[\udc80-\udcff]")


class TolerantClient(Client):
    """nats-py's client, reading what is not well-formed as the server's own JSON shows it."""

    async def leave(self, timeout_s: float) -> None:
        """Close the connection for good, in whatever state it is, in at most ``timeout_s``."""
        # As a task of its own: nats-py cancels what reconnects, and lets that cancellation out.
        closing = asyncio.ensure_future(self.close())
        await asyncio.wait({closing}, timeout=timeout_s)
        closing.cancel()
        with suppress(Exception, asyncio.CancelledError):
            closing.exception()

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, UnicodeDecodeError):
            # Of a status line that cannot be read only the headers behind it count.
            return self._parse_header_lines(headers.partition(b"\r\n")[2]) or None

    def _build_message(
        self,
        sid: int,
        subject: bytes,
        reply: bytes,
        data: bytes,
        headers: dict[str, str] | None,
    ) -> Msg:
        try:
            message: Msg = super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            readable = (_readable(subject), _readable(reply))
            message = super()._build_message(sid, *readable, data, headers)
        return message


def _readable(raw: bytes) -> bytes:
    """Put U+FFFD for each byte that is not UTF-8, as Go does: one subject has to give one leaf."""
    return _ESCAPED.sub("\N{REPLACEMENT CHARACTER}", raw.decode(errors="surrogateescape")).encode()
