"""What each query operation takes: strict shapes, so a misspelt argument is an error."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from memfold.accounts import PARTS_MAX
from memfold.chunks import CHUNKS_MAX, HASH
from memfold.errors import InvalidRequest
from memfold.exporting import OLDER_MAX, PROOFS_MAX
from memfold.lists import ResourceOrder, ThreadOrder
from memfold.values import Id, Time

Limit = Annotated[int, Field(ge=1, le=1000)]
PartLimit = Annotated[int, Field(ge=1, le=PARTS_MAX)]


def _in_columns(value: int) -> int:
    if abs(value) > 1 << 62:
        message = "beyond every sequence"
        raise ValueError(message)
    return value


Sequence = Annotated[int, AfterValidator(_in_columns)]
"""A number that the projection's columns can be compared with."""
FromZero = Annotated[int, Field(ge=0), AfterValidator(_in_columns)]
Moment = Annotated[int, Field(strict=True, ge=0), AfterValidator(_in_columns)] | Time
"""A sequence, or a time: then the last sequence that was recorded by then."""
Position = tuple[Sequence, Sequence]
Hash = Annotated[str, Field(pattern=f"^{HASH.pattern}$")]
"""A SHA-256 in lower-case hexadecimal digits."""
R = TypeVar("R", bound="Request")


class Request(BaseModel):
    """What every operation takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_sequence: FromZero = 0
    """Answer only once this sequence is folded."""
    wait_ms: Annotated[int, Field(ge=0, le=30_000)] = 5_000
    """How long to wait for it."""


class PastRequest(Request):
    """What operations take that can answer as of an earlier sequence or time.

    What is ahead of the checkpoint is waited for. The answer's ``sequence`` is the one it is of.
    """

    moments: ClassVar[tuple[str, ...]] = ("as_of",)
    """The arguments that may be times."""

    as_of: Moment | None = None

    def earliest(self) -> int | None:
        """Return the earliest of the sequences that are asked for; None means now."""
        given = [found for name in self.moments if (found := self.past(name)) is not None]
        return min(given, default=None)

    def past(self, name: str = "as_of") -> int | None:
        """Return the sequence that is asked for, once times were resolved; None means now."""
        found = getattr(self, name)
        assert not isinstance(found, datetime), "times are resolved before a query is answered"
        return None if found is None else int(found)


class SnapshotRequest(PastRequest):
    """``snapshot``: working memories, thread and its last messages, at one sequence."""

    thread: Id | None = None
    last: Annotated[int, Field(ge=0, le=1_000_000)] = 20


class WorkingMemoryRequest(PastRequest):
    """``working_memory``: the resource's, or one thread's, with the definition in force."""

    thread: Id | None = None


class ThreadRequest(PastRequest):
    """``thread``: one thread's title, metadata and incarnation."""

    thread: Id


class ResourceRequest(PastRequest):
    """``resource``: one resource's metadata."""


class ListRequest(PastRequest):
    """What every list takes: a part of it, as of one sequence.

    ``skip`` leaves out so many entries first; ``as_of`` makes several pages those of one state;
    ``total`` asks for the number of all entries; ``metadata`` names entries that must be there.
    """

    limit: Limit = 100
    skip: FromZero = 0
    total: bool = False
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


class ThreadsRequest(ListRequest):
    """``threads``: a page of a resource's live threads, or of those of all resources.

    The newest first, unless ``descending`` is false. ``after`` is the ``next`` of the page before.
    ``archived`` true or false leaves out the others.
    """

    after: tuple[Sequence, Sequence] | None = None
    order: ThreadOrder = "created_at"
    descending: bool = True
    archived: bool | None = None


class MessagesRequest(ListRequest):
    """``messages``: a page of messages of one thread, of several, or of all of the resource.

    Oldest first from behind ``after``; with ``newest``, the newest ones before ``before``.
    ``since`` and ``until`` bound the time of creation, both included.
    """

    thread: Id | None = None
    threads: Annotated[list[Id], Field(max_length=1000)] | None = None
    limit: Limit = 1000
    newest: bool = False
    after: Position | None = None
    before: Position | None = None
    since: Time | None = None
    until: Time | None = None


class WindowRequest(PastRequest):
    """``window``: a message with neighbours of its own thread, oldest first; empty if unknown.

    Without ``thread``, of each thread of the resource that has a message of that id: as many as fit
    an answer, and ``next`` is what ``behind`` takes for the others. Of a window that does not fit
    alone, ``older`` and ``newer`` count the neighbours that are missing at either end.
    """

    thread: Id | None = None
    message: Id
    before: Annotated[int, Field(ge=0, le=1000)] = 0
    after: Annotated[int, Field(ge=0, le=1000)] = 0
    behind: Position | None = None


class ClonesRequest(Request):
    """``clones``: a page of the live threads that were cloned from one, in order of creation."""

    thread: Id
    limit: Limit = 1000
    after: tuple[Sequence] | None = None


class AttachmentRequest(Request):
    """``attachment``: what is stored under a SHA-256, and one chunk of it, counted from 0.

    ``from_copy`` is the copy that the answer with the first chunk has named.
    """

    sha256: Hash
    chunk: Annotated[int, Field(ge=0, lt=CHUNKS_MAX)] | None = None
    from_copy: Annotated[str, Field(max_length=1024)] | None = None


class AttachmentsRequest(Request):
    """``attachments``: those of these SHA-256s that an event of the resource refers to."""

    hashes: Annotated[list[Hash], Field(max_length=1000)]


class OutcomeRequest(Request):
    """``outcome``: what became of the events at [sequence, number of events] each."""

    positions: Annotated[
        list[tuple[Sequence, Annotated[int, Field(ge=1, le=1000)]]], Field(max_length=1000)
    ]


class KnownRequest(Request):
    """``known``: the positions of those of these event ids of one source that were folded."""

    source: str
    ids: Annotated[list[str], Field(max_length=1000)]


class HistoryRequest(PastRequest):
    """``history``: a page of changes, of the whole resource or one thread.

    Behind the position ``after`` and the moment ``since``, up to the moment ``as_of``.
    ``everything`` includes events that changed nothing: unchanged, rejected, duplicate.
    """

    moments: ClassVar[tuple[str, ...]] = ("since", "as_of")

    thread: Id | None = None
    since: Moment | None = None
    after: Position = (-1, 0)
    limit: Limit = 1000
    everything: bool = False


DocumentName = Literal["working_memory", "metadata"]
"""A working memory; or a thread's title, metadata and being archived, or a resource's metadata."""


class DocumentRequest(PastRequest):
    """What the questions about one document take: the resource's, or that of a ``thread``."""

    thread: Id | None = None
    document: DocumentName = "working_memory"


class DocumentHistoryRequest(DocumentRequest):
    """``document_history``: a page of what changed one document, each with before and after.

    Oldest first, behind the position ``after``. ``whole`` asks for the whole document before and
    after each change as well. With ``path`` only changes of that part of a JSON document; a page
    can be empty then, and have a next one.
    """

    path: str | None = None
    after: Position = (-1, 0)
    limit: Limit = 100
    whole: bool = False


class BlameRequest(DocumentRequest):
    """``blame``: a page of a document's parts, each with the event that set it.

    ``path`` names a part of a JSON document by its JSON Pointer. ``after`` is the ``next`` of the
    page before, asked for with the same ``as_of``.
    """

    path: str | None = None
    limit: PartLimit = 1000
    after: FromZero = 0


class DiffRequest(DocumentRequest):
    """``diff``: a page of what differs in a document between two moments, with the events.

    Between ``start`` and ``as_of``, which is now if not given; both can be times.
    """

    moments: ClassVar[tuple[str, ...]] = ("start", "as_of")

    start: Moment
    path: str | None = None
    limit: PartLimit = 1000
    after: FromZero = 0


class RecordedRequest(Request):
    """``recorded``: a page of raw messages of the log, of a resource, one thread, or the defaults.

    From ``after`` on, [sequence, byte of its payload], to ``upto``. ``whole_log``, with the
    resource token ``_``, is all messages of the namespace.
    """

    thread: Id | None = None
    after: tuple[FromZero, FromZero] = (0, 0)
    upto: FromZero | None = None
    limit: Limit = 1000
    whole_log: bool = False


class ProofsRequest(Request):
    """``proofs``: of messages in the Merkle tree of ``size``, and of older sizes within it."""

    size: Annotated[int, Field(ge=1), AfterValidator(_in_columns)]
    sequences: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=PROOFS_MAX)] = Field(
        default_factory=list[int]
    )
    older: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=OLDER_MAX)] = Field(
        default_factory=list[int]
    )


class ResourcesRequest(ListRequest):
    """``resources``: a page of all resources, in order of first appearance by default."""

    after: tuple[Sequence, Sequence, Sequence] | None = None
    order: ResourceOrder = "created_at"
    descending: bool = False


class ParkedRequest(Request):
    """``parked``: a page of parked events, of all resources or one.

    ``everything`` includes those that were discarded. ``check`` asks of each whether this engine
    could read it by now.
    """

    after: Position = (-1, 0)
    limit: Limit = 100
    everything: bool = False
    check: bool = False


class ErasuresRequest(Request):
    """``erasures``: a page of what was asked to be erased, and which engines have done so."""

    after: Position = (-1, 0)
    limit: Limit = 1000


class JobRequest(Request):
    """``job``: long work of one engine, named by its id as in ``status``: start it, follow it.

    Without ``start``, that of the ``number``, or what runs or ran last.
    """

    start: Annotated[str, Field(max_length=64)] | None = None
    number: Annotated[int, Field(ge=1)] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any])


class StatusRequest(Request):
    """``status``: stream, checkpoint, lag and counts; answered even when folding has stopped."""


def read_request(model: type[R], payload: bytes) -> R:
    """Parse a request; an empty payload is an empty object.

    Raises:
        InvalidRequest: not JSON, an unknown argument, or one out of bounds.
    """
    try:
        return model.model_validate_json(payload or b"{}")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "request"
        message = f"{place}: {first['msg']}"
        raise InvalidRequest(message) from None
