"""Attachments: what of a message's parts is kept beside the event, and what stands in its place.

Pure: finds bytes and data URIs (RFC 2397), makes references, and puts the text back exactly. How
the bytes are moved is ``blobs``'s, where they are kept ``chunks``'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from memfold.canonical import is_array, is_object
from memfold.chunks import ATTACHMENT_BYTES_MAX, HASH
from memfold.errors import AttachmentDamaged, InvalidRequest, TooLarge
from memfold.limits import JSON_DEPTH_MAX
from memfold.sealed import KEYID_FORM

ATTACH_ABOVE_BYTES: Final = 16 * 1024
"""Unless told otherwise, data of more than so many bytes goes beside the event."""
KEY: Final = "attachment"
"""The one key of the object that stands in a message for its attachment."""
SCHEME: Final = "data:"
HEAD_CHARS_MAX: Final = 1024

Close = Callable[[bytes], tuple[str, bytes]]
"""Seals bytes, and returns the id of the key with them."""

_TYPE: Final = r"[\w!#$&^.+-]+/[\w!#$&^.+-]+"
_MEDIA_TYPE: Final = rf"(?:{_TYPE})?(?:;[^,;\x00-\x1f\x7f]+)*?"
_HEAD: Final = re.compile(
    rf"data:(?P<media>{_MEDIA_TYPE})(?P<base64>;base64)?,", re.IGNORECASE | re.ASCII
)
_PLAIN_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*+={0,2}", re.ASCII)
_WHOLE_TYPE: Final = re.compile(rf"{_TYPE}(?:;[^,;\x00-\x1f\x7f]+)*", re.ASCII)
_BLANKS: Final = re.compile(rb"[ \t\r\n\f]+")
_MISFIT: Final = "the reference does not fit what is stored"
_BYTES: Final = (bytes, bytearray, memoryview)


@dataclass(frozen=True, slots=True)
class Attachment:
    """Bytes with their media type: to put into a message's parts, and what reading one returns.

    Raises:
        InvalidRequest: the data is not bytes, or the media type not one (``type/subtype``).
    """

    data: bytes
    media_type: str = "application/octet-stream"

    def __post_init__(self) -> None:
        data = _as_bytes(self.data)
        if data is None:
            message = f"the data of an attachment is bytes, not {type(self.data).__name__}"
            raise InvalidRequest(message)
        object.__setattr__(self, "data", data)
        given = cast("object", self.media_type)
        media = given if isinstance(given, str) else ""
        if not _WHOLE_TYPE.fullmatch(media) or len(media) > HEAD_CHARS_MAX:
            message = "a media type looks like image/png"
            raise InvalidRequest(message)

    def data_uri(self) -> str:
        """Return it as a data URI in base64: what a message's parts hold of it."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


class Reference(BaseModel):
    """What a message keeps of an attachment; with the bytes it gives back the text that was there.

    ``size`` and ``sha256`` are of the stored bytes; with ``keyid`` these are sealed under that key
    of the resource, and what follows is about them opened. ``head`` is the data URI up to its
    comma; its ``body`` is their base64, or where that would not give the same text again, the text
    itself.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=f"^{HASH.pattern}$")]
    size: Annotated[int, Field(ge=0, le=ATTACHMENT_BYTES_MAX)]
    media_type: str
    head: str
    body: Literal["base64", "text"]
    keyid: Annotated[str, Field(pattern=f"^{KEYID_FORM.pattern}$")] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Reference:
        match = _HEAD.fullmatch(self.head)
        if match is None or _media_type(match) != self.media_type:
            message = "the head is not that of a data URI of this media type"
            raise ValueError(message)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a message."""
        return {KEY: self.model_dump(exclude_none=True)}

    def restore(self, stored: bytes) -> str:
        """Return the data URI, character by character as it was.

        Raises:
            AttachmentDamaged: the reference does not fit what is stored.
        """
        body = base64.b64encode(stored) if self.body == "base64" else stored
        try:
            return self.head + body.decode()
        except UnicodeDecodeError:
            raise AttachmentDamaged(_MISFIT) from None

    def attachment(self, stored: bytes) -> Attachment:
        """Return the bytes that the data URI stands for.

        Raises:
            AttachmentDamaged: the reference does not fit what is stored.
        """
        data: bytes | None = stored
        if self.body == "text":
            match = _HEAD.fullmatch(self.head)
            data = None if match is None else _decode(stored, base64_=bool(match["base64"]))
        if data is None:
            raise AttachmentDamaged(_MISFIT)
        return Attachment(data, self.media_type)


def read_reference(value: object) -> Reference | None:
    """Return the reference that a value is, if it looks like one of ours in every field."""
    if not isinstance(value, Mapping) or len(cast("Mapping[str, Any]", value)) != 1:
        return None
    raw = cast("Mapping[str, Any]", value).get(KEY)
    try:
        return Reference.model_validate(raw) if is_object(raw) else None
    except ValidationError:
        return None


def references(content: object) -> dict[str, Reference]:
    """Return the references in a message's content, one for each SHA-256."""
    found: dict[str, Reference] = {}

    def note(value: object) -> object:
        reference = read_reference(value)
        if reference is not None:
            found.setdefault(reference.sha256, reference)
        return value

    _replace(content, note)
    return found


def put_back(content: Any, stored: Mapping[str, bytes]) -> Any:  # noqa: ANN401  # any content
    """Return a message's content with data URIs again, where their bytes are given."""

    def restored(value: object) -> object:
        reference = read_reference(value)
        if reference is None or reference.sha256 not in stored:
            return value
        return reference.restore(stored[reference.sha256])

    return _replace(content, restored)


def holds_attachments(content: object, above: int) -> bool:
    """Tell whether :func:`take_out` has anything to do; cheap, for every message that is sent."""
    todo: list[tuple[object, int]] = [(content, JSON_DEPTH_MAX)] if is_array(content) else []
    while todo:
        value, depth = todo.pop()
        if isinstance(value, str):
            if len(value) > above and value[: len(SCHEME)].lower() == SCHEME:
                return True
        elif isinstance(value, (*_BYTES, Attachment)):
            return True
        elif depth and (is_object(value) or is_array(value)):
            inner = value.values() if is_object(value) else value
            todo.extend((item, depth - 1) for item in inner)
    return False


def private_copy(content: Any) -> Any:  # noqa: ANN401  # any content
    """Return the content with all that could change made its own, so that a thread can read it."""

    def own(value: object) -> object:
        data = _as_bytes(value)
        return value if data is None else data

    return _replace(content, own)


def take_out(
    content: Any,  # noqa: ANN401  # any content
    above: int,
    found: dict[str, bytes],
    close: Close | None = None,
) -> Any:  # noqa: ANN401  # any content
    """Return a message's content with what is too large replaced; its bytes are put into ``found``.

    Looks at every value in every part. Bytes become data URIs; a data URI whose data is larger than
    ``above`` bytes becomes a reference. What only looks like a data URI stays as it is. ``close``
    seals bytes, and returns them with the id of its key.

    Raises:
        TooLarge: an attachment is larger than 64 MiB.
    """
    note = partial(_note, found, close)

    def taken(value: object) -> object:
        data = _as_bytes(value)
        if data is not None:
            value = Attachment(data)
        if isinstance(value, Attachment):
            if len(value.data) <= above:
                return value.data_uri()
            head = f"data:{value.media_type};base64,"
            return note(value.data, value.media_type, head, "base64")
        if isinstance(value, str) and len(value) > above:
            return _take_uri(value, above, note)
        return value

    return _replace(content, taken) if is_array(content) else content


def _take_uri(text: str, above: int, note: Callable[..., object]) -> object:
    head = _HEAD.match(text, 0, HEAD_CHARS_MAX)
    if head is None:
        return text
    try:
        body = text[head.end() :].encode()
    except UnicodeEncodeError:
        return text
    is_base64 = bool(head["base64"])
    data = _decode(body, base64_=is_base64)
    if data is None or len(data) <= above:
        return text
    media_type = _media_type(head)
    if is_base64 and base64.b64encode(data) == body:
        return note(data, media_type, head[0], "base64")
    return note(body, media_type, head[0], "text")


def _note(
    found: dict[str, bytes],
    close: Close | None,
    stored: bytes,
    media_type: str,
    head: str,
    body: Literal["base64", "text"],
) -> dict[str, Any]:
    keyid = None
    if close is not None:
        keyid, stored = close(stored)
    if len(stored) > ATTACHMENT_BYTES_MAX:
        message = f"an attachment is {len(stored)} bytes large, the limit {ATTACHMENT_BYTES_MAX}"
        raise TooLarge(message, reason="attachment_too_large")
    sha256 = hashlib.sha256(stored).hexdigest()
    found[sha256] = stored
    reference = Reference(
        sha256=sha256,
        size=len(stored),
        media_type=media_type,
        head=head,
        body=body,
        keyid=keyid,
    )
    return reference.to_json()


def read_data_uri(text: str) -> tuple[str, str] | None:
    """Return the media type of a data URI, without parameters, and its data in base64.

    The type is "" where the URI names none and its data is not written as text. None: it is no
    data URI, or not whole.
    """
    head = _HEAD.match(text, 0, HEAD_CHARS_MAX)
    if head is None:
        return None
    media_type, body = head["media"].partition(";")[0].lower(), text[head.end() :]
    media_type = media_type or ("" if head["base64"] else "text/plain")
    if head["base64"] and _PLAIN_BASE64.fullmatch(body):
        return media_type, body
    try:
        data = _decode(body.encode(), base64_=bool(head["base64"]))
    except UnicodeEncodeError:
        return None
    return None if data is None else (media_type, base64.b64encode(data).decode())


def _decode(body: bytes, *, base64_: bool) -> bytes | None:
    """Return what the text behind a data URI's comma stands for; None if it is not base64."""
    if not base64_:
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        pass
    # As browsers read it: escapes, line breaks, and padding that was left out.
    plain = _BLANKS.sub(b"", unquote_to_bytes(body)).rstrip(b"=")
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return None


def _media_type(head: re.Match[str]) -> str:
    """Return the media type of a data URI's head; what it leaves out is as RFC 2397 says."""
    media = head["media"]
    if not media:
        return "text/plain;charset=US-ASCII"
    return f"text/plain{media}" if media.startswith(";") else media


def _as_bytes(value: object) -> bytes | None:
    return bytes(cast("bytes", value)) if isinstance(value, _BYTES) else None


def _replace(value: Any, change: Any, depth: int = JSON_DEPTH_MAX) -> Any:  # noqa: ANN401  # any JSON
    """Return a value with ``change`` applied to it, else to all that is in it."""
    changed = change(value)
    if changed is not value or not depth:
        return changed
    if is_object(value):
        return {key: _replace(item, change, depth - 1) for key, item in value.items()}
    if is_array(value):
        return [_replace(item, change, depth - 1) for item in value]
    return value
