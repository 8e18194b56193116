"""A publisher process for fault tests: appends one message with a large attachment.

Run as ``python attacher.py URL SIZE KILL``: at its publish number KILL, chunks first, then the
event, it kills itself: the bytes are sent and the server has not answered. -1 never does.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

from nats.aio.msg import Msg

import memfold


def content(size: int) -> bytes:
    """Return the bytes of the attachment."""
    return random.Random(size).randbytes(size)


async def main(url: str, size: int, kill: int) -> None:
    """Append the message; its id is always the same."""
    async with memfold.connect(url, actor="bot") as memory:
        connection = memory._client.connection
        request, number = connection.request, 0

        async def counting(
            subject: str,
            payload: bytes = b"",
            timeout: float = 5.0,
            headers: dict[str, str] | None = None,
        ) -> Msg:
            nonlocal number
            if subject.startswith(("memfold.blob.", "memfold.publish.")):
                number += 1
                if number == kill:
                    await connection.client.publish(subject, payload, headers=headers)
                    await connection.client.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
            return await request(subject, payload, timeout, headers)

        connection.request = counting  # type: ignore[method-assign]
        part = {"type": "file", "data": memfold.Attachment(content(size), "video/mp4")}
        thread = memory.resource("alice").thread("t")
        await thread.append({"id": "m1", "role": "user", "content": [part]})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
