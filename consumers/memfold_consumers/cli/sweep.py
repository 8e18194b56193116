"""``memfold sweep``: deletes attachments that nobody refers to, with its user's own permissions.

Not the engine's doing on request: any agent may ask it, but only who may delete from the stream may
sweep. The engine is asked what is referred to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from memfold.errors import StreamMissing
from memfold.jetstream import NO_STREAM, JetStreamError
from memfold_consumers.blob_stream import BlobStream
from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import OK, UsageError
from memfold_consumers.cli.options import Options
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.cli.reading import ACTOR
from memfold_consumers.copies import Copies
from memfold_consumers.sweeping import Sweeper, Swept

FOLD_S: Final = 60.0
_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


async def sweep(options: Options, older_than: str, *, dry_run: bool) -> int:
    """Sweep once and print what was deleted, or would be."""
    older_than_s = duration_s(older_than)
    async with engine(options, actor=ACTOR) as access:
        swept = await access.patiently(
            lambda: _sweep(access, options.memory, older_than_s, dry_run=dry_run)
        )
    if options.json:
        write_json({"dry_run": dry_run, **swept.to_json()})
        return OK
    counts = {**swept.to_json(), "damaged": len(swept.damaged)}
    Printer().table(("what", "#number"), list(counts.items()))
    for resource, sha256 in swept.damaged:
        Printer(stderr=True).line(f"no good copy: {sha256} of {resource}")
    return OK


async def _sweep(access: Access, namespace: str, older_than_s: float, *, dry_run: bool) -> Swept:
    stream = BlobStream(access.client.connection, namespace)

    async def references(resource: str, hashes: Sequence[str], min_sequence: int) -> set[str]:
        answer = await access.client.queries.ask(
            "attachments",
            resource,
            {"hashes": list(hashes)},
            fresh=False,
            min_sequence=min_sequence,
            timeout_s=FOLD_S,
        )
        return set(answer["referred"])

    sweeper = Sweeper(
        stream, Copies(stream), references, older_than_s=older_than_s, dry_run=dry_run
    )
    try:
        return await sweeper.run()
    except JetStreamError as error:
        if error.code == NO_STREAM:
            message = f"namespace {namespace} has no streams"
            raise StreamMissing(message) from None
        raise


def duration_s(text: str) -> int:
    """Return a duration like ``90s``, ``30m``, ``1h`` or ``7d`` in seconds.

    Raises:
        UsageError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        message = f"a duration looks like 90s, 30m, 1h or 7d, not {text[:40]!r}"
        raise UsageError(message)
    return int(match[1]) * _SECONDS[match[2]]
