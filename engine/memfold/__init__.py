"""Memory for AI agents, folded from events: the events, the rules and the client.

Names are imported when they are first used, so that ``import memfold`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from memfold.attachments import Attachment as Attachment
    from memfold.audit.reads import Blame as Blame
    from memfold.audit.reads import BlameEntry as BlameEntry
    from memfold.audit.reads import ChangeEvent as ChangeEvent
    from memfold.audit.reads import Diff as Diff
    from memfold.audit.reads import DiffEntry as DiffEntry
    from memfold.audit.reads import DocumentChange as DocumentChange
    from memfold.audit.reads import SourceMessage as SourceMessage
    from memfold.audit.reads import Touched as Touched
    from memfold.audit.states import Difference as Difference
    from memfold.audit.states import DifferencePart as DifferencePart
    from memfold.building import Prepared as Prepared
    from memfold.clones import Clone as Clone
    from memfold.clones import Cut as Cut
    from memfold.details import Details as Details
    from memfold.erasing import ErasureReport as ErasureReport
    from memfold.errors import AttachmentDamaged as AttachmentDamaged
    from memfold.errors import BrokerUnavailable as BrokerUnavailable
    from memfold.errors import EngineBusy as EngineBusy
    from memfold.errors import EngineInUse as EngineInUse
    from memfold.errors import EngineUnavailable as EngineUnavailable
    from memfold.errors import ExtraMissing as ExtraMissing
    from memfold.errors import InvalidEvent as InvalidEvent
    from memfold.errors import InvalidId as InvalidId
    from memfold.errors import InvalidRequest as InvalidRequest
    from memfold.errors import KeyMissing as KeyMissing
    from memfold.errors import LogDiverged as LogDiverged
    from memfold.errors import MemfoldError as MemfoldError
    from memfold.errors import NotFound as NotFound
    from memfold.errors import NotYetConsistent as NotYetConsistent
    from memfold.errors import Parked as Parked
    from memfold.errors import PublishDenied as PublishDenied
    from memfold.errors import ReadOnly as ReadOnly
    from memfold.errors import Rejected as Rejected
    from memfold.errors import RevisionConflict as RevisionConflict
    from memfold.errors import StorageError as StorageError
    from memfold.errors import StreamFull as StreamFull
    from memfold.errors import StreamMissing as StreamMissing
    from memfold.errors import TooLarge as TooLarge
    from memfold.errors import UnsafeStream as UnsafeStream
    from memfold.gate import GateError as GateError
    from memfold.lists import Page as Page
    from memfold.memory import Memory as Memory
    from memfold.memory import connect as connect
    from memfold.messages import Message as Message
    from memfold.pages import Include as Include
    from memfold.prompts.answers import ToolAnswer as ToolAnswer
    from memfold.prompts.budget import estimate_tokens as estimate_tokens
    from memfold.prompts.compose import Prompt as Prompt
    from memfold.prompts.processor import Processor as Processor
    from memfold.prompts.strip import strip_memory as strip_memory
    from memfold.prompts.strip import strip_tags as strip_tags
    from memfold.prompts.system import SystemMessage as SystemMessage
    from memfold.prompts.texts import DEFAULT_TEMPLATE as DEFAULT_TEMPLATE
    from memfold.prompts.tool import MemoryTool as MemoryTool
    from memfold.reads import Change as Change
    from memfold.reads import DefinitionState as DefinitionState
    from memfold.reads import MemoryRead as MemoryRead
    from memfold.reads import MessageView as MessageView
    from memfold.reads import ResourceState as ResourceState
    from memfold.reads import Snapshot as Snapshot
    from memfold.reads import ThreadLink as ThreadLink
    from memfold.reads import ThreadState as ThreadState
    from memfold.reads import WorkingMemoryState as WorkingMemoryState
    from memfold.receipts import NO_CHANGE as NO_CHANGE
    from memfold.receipts import EventOutcome as EventOutcome
    from memfold.receipts import Receipt as Receipt
    from memfold.recorded import RecordedMessage as RecordedMessage
    from memfold.replaying import LeftOut as LeftOut
    from memfold.replaying import Replay as Replay
    from memfold.resource import Resource as Resource
    from memfold.sealed import Key as Key
    from memfold.sealed import Keys as Keys
    from memfold.sealing import KeyDirectory as KeyDirectory
    from memfold.streams import ensure_streams as ensure_streams
    from memfold.thread import Thread as Thread
    from memfold.working_memory import WorkingMemory as WorkingMemory

    __version__: str
    """The version that is installed."""

_MODULES: Final = {
    "attachments": ("Attachment",),
    "audit.reads": (
        "Blame",
        "BlameEntry",
        "ChangeEvent",
        "Diff",
        "DiffEntry",
        "DocumentChange",
        "SourceMessage",
        "Touched",
    ),
    "audit.states": ("Difference", "DifferencePart"),
    "building": ("Prepared",),
    "clones": ("Clone", "Cut"),
    "erasing": ("ErasureReport",),
    "details": ("Details",),
    "errors": (
        "AttachmentDamaged",
        "BrokerUnavailable",
        "EngineBusy",
        "EngineInUse",
        "EngineUnavailable",
        "ExtraMissing",
        "InvalidEvent",
        "InvalidId",
        "InvalidRequest",
        "KeyMissing",
        "LogDiverged",
        "MemfoldError",
        "NotFound",
        "NotYetConsistent",
        "Parked",
        "PublishDenied",
        "ReadOnly",
        "Rejected",
        "RevisionConflict",
        "StorageError",
        "StreamFull",
        "StreamMissing",
        "TooLarge",
        "UnsafeStream",
    ),
    "gate": ("GateError",),
    "lists": ("Page",),
    "memory": ("Memory", "connect"),
    "messages": ("Message",),
    "pages": ("Include",),
    "prompts.answers": ("ToolAnswer",),
    "prompts.budget": ("estimate_tokens",),
    "prompts.compose": ("Prompt",),
    "prompts.processor": ("Processor",),
    "prompts.strip": (
        "strip_memory",
        "strip_tags",
    ),
    "prompts.system": ("SystemMessage",),
    "prompts.texts": ("DEFAULT_TEMPLATE",),
    "prompts.tool": ("MemoryTool",),
    "reads": (
        "Change",
        "DefinitionState",
        "MemoryRead",
        "MessageView",
        "ResourceState",
        "Snapshot",
        "ThreadLink",
        "ThreadState",
        "WorkingMemoryState",
    ),
    "receipts": ("NO_CHANGE", "EventOutcome", "Receipt"),
    "recorded": ("RecordedMessage",),
    "replaying": ("LeftOut", "Replay"),
    "resource": ("Resource",),
    "sealed": ("Key", "Keys"),
    "sealing": ("KeyDirectory",),
    "streams": ("ensure_streams",),
    "thread": ("Thread",),
    "working_memory": ("WorkingMemory",),
}
_HOME: Final = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # A checker would take every misspelt name for a public one.

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import PackageNotFoundError, version

            try:
                return version("memfold")
            except PackageNotFoundError:
                return "unknown"
        home = _HOME.get(name)
        if home is None:
            message = f"module 'memfold' has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(importlib.import_module(f"memfold.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})
