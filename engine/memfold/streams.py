"""The streams of a namespace: created once, and never run on with settings that lose history.

An operator may choose replicas, placement, compression, duplicate window and a size limit; those
are left as they are. Everything else either holds or stops the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from memfold.errors import UnsafeStream
from memfold.jetstream import NO_STREAM, JetStreamError, api
from memfold.limits import MESSAGE_BYTES_MAX
from memfold.subjects import (
    check_namespace,
    refill_subjects,
    stream_subjects,
    stream_transform,
)

if TYPE_CHECKING:
    from nats.aio.client import Client

NAME_IN_USE: Final = 10058
"""JetStream's error code for a stream of that name with other settings."""
NS_PER_S: Final = 1_000_000_000

_RECREATE: Final = "it cannot be changed: move the data to a new stream"
_EDIT: Final = "change it with `nats stream edit`"
_REMEDIES: Final[Mapping[str, str]] = {
    "retention": _RECREATE,
    "storage": _RECREATE,
    "mirror": _RECREATE,
    "sealed": _RECREATE,
    "deny_delete": _RECREATE,
    "deny_purge": _EDIT,
}
_ABSENT: Final[Mapping[str, object]] = {
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "discard_new_per_subject": False,
    "no_ack": False,
    "sealed": False,
    "allow_rollup_hdrs": False,
    "allow_msg_ttl": False,
    "allow_msg_counter": False,
    "allow_direct": False,
    "deny_delete": False,
    "deny_purge": False,
    "subject_delete_marker_ttl": 0,
    "persist_mode": "default",
    "mirror": None,
    "sources": None,
    "subject_transform": None,
}
"""What it means when the server leaves a setting out."""


async def ensure_streams(
    connection: Client,
    namespace: str,
    *,
    replicas: int = 1,
    duplicate_window_s: float = 120,
    max_bytes: int = -1,
) -> None:
    """Create the namespace's three streams, or check those that exist; safe to call at any time.

    ``replicas``, ``duplicate_window_s`` and ``max_bytes`` count only for what is created now.

    Raises:
        UnsafeStream: naming each setting that would lose or rewrite history, and what to do.
        memfold.jetstream.JetStreamError: the server refused to create a stream.
        nats.errors.Error: no answer.
    """
    check_namespace(namespace)
    check_max_payload(connection)
    window_ns = int(duplicate_window_s * NS_PER_S)
    for wanted in stream_settings(namespace):
        chosen = {
            "num_replicas": replicas,
            "duplicate_window": window_ns,
            "max_bytes": max_bytes,
            "compression": "none",
        }
        live = await _read_or_create(connection, {**wanted, **chosen})
        if live["subjects"] == [refill_subjects(namespace)]:
            message = f"stream {wanted['name']} is being restored: run memfold restore to its end"
            raise UnsafeStream(message)
        found = unsafe_settings(wanted, live)
        if found:
            message = f"stream {wanted['name']} is unsafe: " + "; ".join(found)
            raise UnsafeStream(message)


def check_max_payload(connection: Client) -> None:
    """Check that the server takes messages of 1 MiB.

    Raises:
        UnsafeStream: its ``max_payload`` is smaller, so that events within the limits would fail.
    """
    if connection.max_payload < MESSAGE_BYTES_MAX:
        message = (
            f"the server's max_payload is {connection.max_payload} bytes; "
            f"set it to at least {MESSAGE_BYTES_MAX} in its configuration"
        )
        raise UnsafeStream(message)


def stream_settings(namespace: str) -> list[dict[str, Any]]:
    """Return the settings that the events, audit and blob streams must have."""
    events = {
        **_common(namespace, stream_subjects(namespace)),
        "subject_transform": {
            "src": stream_subjects(namespace),
            "dest": stream_transform(namespace),
        },
        # Erasure deletes single messages; nothing may purge.
        "deny_delete": False,
    }
    audit = {**_common(f"{namespace}-audit", f"{namespace}.audit.>"), "deny_delete": True}
    blob = {**_common(f"{namespace}-blob", f"{namespace}.blob.>"), "deny_delete": False}
    return [events, audit, blob]


def event_stream(namespace: str) -> dict[str, Any]:
    """Return the settings to create the event stream with, without what is at its default."""
    return _sent(stream_settings(namespace)[0])


def unsafe_settings(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    """Compare a stream's live settings with the wanted ones; return a sentence for each misfit."""
    found: list[str] = []
    for name, value in wanted.items():
        actual = live.get(name, _ABSENT.get(name))
        if name == "max_msg_size":
            fits = actual in (-1, None) or actual >= value
        elif name in ("mirror", "sources"):
            fits = not actual
        elif name == "max_msgs_per_subject":
            fits = actual is None or actual <= 0
        elif name == "persist_mode":
            fits = actual in ("", value)
        else:
            fits = actual == value
        if not fits:
            remedy = _REMEDIES.get(name, _EDIT)
            found.append(f"{name} is {actual!r}, must be {value!r} ({remedy})")
    return found


def _common(name: str, subject: str) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": [subject],
        "subject_transform": None,
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_age": 0,
        "max_msg_size": MESSAGE_BYTES_MAX,
        "max_msgs_per_subject": -1,
        "discard_new_per_subject": False,
        "deny_purge": True,
        "allow_direct": True,
        "allow_rollup_hdrs": False,
        "allow_msg_ttl": False,
        "allow_msg_counter": False,
        "subject_delete_marker_ttl": 0,
        "no_ack": False,
        "sealed": False,
        "persist_mode": "default",
        "mirror": None,
        "sources": None,
    }


async def _read_or_create(connection: Client, settings: Mapping[str, Any]) -> dict[str, Any]:
    name = settings["name"]
    try:
        return await _live(connection, name)
    except JetStreamError as error:
        if error.code != NO_STREAM:
            raise
    try:
        await api(connection, f"STREAM.CREATE.{name}", _sent(settings))
    except JetStreamError as error:
        # Another process was first, with its own replicas or window.
        if error.code != NAME_IN_USE:
            raise
    return await _live(connection, name)


def _sent(settings: Mapping[str, Any]) -> dict[str, Any]:
    # Older servers refuse settings they do not know; what is at its default is left out.
    return {key: value for key, value in settings.items() if value != _ABSENT.get(key, ...)}


async def _live(connection: Client, name: str) -> dict[str, Any]:
    config: dict[str, Any] = (await api(connection, f"STREAM.INFO.{name}"))["config"]
    return config
