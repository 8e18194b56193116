"""Exported conversations as people have them, made up here: nothing in them is of anybody."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from memfold_consumers.formats.conversations import Conversation, Skipped
from memfold_consumers.formats.exports import Asked
from memfold_consumers.formats.readers import FORMATS
from memfold_consumers.formats.stable import Fault
from memfold_consumers.formats.values import Bytes

NOON = 1747000000.123456
"""2025-05-11T21:46:40.123456Z, as ChatGPT writes it."""


def node(
    id_: str,
    parent: str | None,
    role: str | None = None,
    parts: list[Any] | None = None,
    **message: Any,  # noqa: ANN401 - any field of a message.
) -> dict[str, Any]:
    """Return one node of a tree as ChatGPT exports it; without a role it is the empty root."""
    said = None
    if role is not None:
        said = {
            "id": id_,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": NOON + 1,
            "update_time": None,
            "content": {"content_type": "text", "parts": parts},
            "status": "finished_successfully",
            "end_turn": None,
            "weight": 1.0,
            "metadata": {},
            "recipient": "all",
            "channel": None,
            **message,
        }
    return {"id": id_, "message": said, "parent": parent, "children": []}


def tree(*nodes: dict[str, Any], ends: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as above.
    """Return one conversation as ChatGPT exports it."""
    for each in nodes:
        each["children"] = [other["id"] for other in nodes if other["parent"] == each["id"]]
    return {
        "title": "Trip",
        "create_time": NOON,
        "update_time": NOON + 60,
        "mapping": {each["id"]: each for each in nodes},
        "moderation_results": [],
        "current_node": ends,
        "conversation_id": "conv-1",
        "id": "conv-1",
        "is_archived": False,
        **more,
    }


IMAGE = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://f", "width": 3}
CODE = {"content_type": "code", "language": "python", "text": "print(6 * 7)"}
OUTPUT = {"content_type": "execution_output", "text": "42\n"}


def trip() -> dict[str, Any]:
    """Return a conversation with a hidden system message, a second answer, tools and an image."""
    return tree(
        node("root", None),
        node("s", "root", "system", [""], create_time=None, weight=0.0),
        node("u1", "s", "user", ["Hi \u0000👋"]),
        node("a1", "u1", "assistant", ["An answer that was left."], create_time=NOON + 2),
        node("a2", "u1", "assistant", ["Hello!"], create_time=NOON + 3, metadata={"model": "m"}),
        node(
            "u2",
            "a2",
            "user",
            ["What is this?", IMAGE],
            create_time=NOON + 4,
            content={"content_type": "multimodal_text", "parts": ["What is this?", IMAGE]},
        ),
        node("c", "u2", "assistant", create_time=None, content=CODE, recipient="python"),
        node(
            "t",
            "c",
            "tool",
            create_time=NOON + 5.5,
            content=OUTPUT,
            author={"role": "tool", "name": "python", "metadata": {}},
        ),
        node("a3", "t", "assistant", ["", "42"], create_time=NOON + 6),
        ends="a3",
    )


def claude(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field.
    """Return one conversation as Claude exports it."""
    return {
        "uuid": "conv-1",
        "name": "Garden",
        "summary": "",
        "created_at": "2025-05-11T21:46:40.123456Z",
        "updated_at": "2025-05-11T22:00:00.000000Z",
        "account": {"uuid": "account-1"},
        "chat_messages": list(messages),
        **more,
    }


def said(
    id_: str,
    sender: str,
    text: str,
    second: int,
    **more: Any,  # noqa: ANN401 - any field.
) -> dict[str, Any]:
    """Return one message as Claude exports it."""
    time = f"2025-05-11T21:47:{second:02}.000001Z"
    return {
        "uuid": id_,
        "text": text,
        "content": [{"type": "text", "text": text, "citations": []}],
        "sender": sender,
        "created_at": time,
        "updated_at": time,
        "attachments": [],
        "files": [],
        **more,
    }


def mastra_message(
    id_: str,
    role: str,
    text: str,
    createdAt: str = "2025-05-11T21:46:40.123Z",  # noqa: N803 - Mastra's own name.
    **more: Any,  # noqa: ANN401 - any field.
) -> dict[str, Any]:
    """Return one message as Mastra has it."""
    return {
        "id": id_,
        "threadId": "t1",
        "resourceId": "r1",
        "role": role,
        "type": "v2",
        "createdAt": createdAt,
        "content": {"format": 2, "parts": [{"type": "text", "text": text}], "content": text},
        **more,
    }


def mastra_thread(id_: str = "t1", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field.
    """Return one thread as Mastra has it."""
    return {
        "id": id_,
        "resourceId": "r1",
        "title": "Support",
        "metadata": {"channel": "web"},
        "createdAt": "2025-05-11T21:46:00.000Z",
        "updatedAt": "2025-05-11T22:00:00.000Z",
        **more,
    }


def mastra_resource(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field.
    """Return one resource as Mastra has it."""
    return {
        "id": "r1",
        "workingMemory": "# User\n- **Name**: Sam",
        "metadata": {"plan": "pro"},
        "createdAt": "2025-05-11T21:46:00.000Z",
        "updatedAt": "2025-05-11T21:59:00.000Z",
        **more,
    }


SCHEMA = """
CREATE TABLE mastra_threads (id TEXT NOT NULL PRIMARY KEY, "resourceId" TEXT NOT NULL,
  title TEXT NOT NULL, metadata TEXT, "createdAt" TEXT NOT NULL, "updatedAt" TEXT NOT NULL);
CREATE TABLE mastra_messages (id TEXT NOT NULL PRIMARY KEY, thread_id TEXT NOT NULL,
  content TEXT NOT NULL, role TEXT NOT NULL, type TEXT NOT NULL, "createdAt" TEXT NOT NULL,
  "resourceId" TEXT);
CREATE TABLE mastra_resources (id TEXT NOT NULL PRIMARY KEY, "workingMemory" TEXT, metadata TEXT,
  "createdAt" TEXT NOT NULL, "updatedAt" TEXT NOT NULL);
"""


def mastra_database(
    path: Path,
    threads: Sequence[dict[str, Any]],
    messages: Sequence[dict[str, Any]],
    resources: Sequence[dict[str, Any]] = (),
) -> None:
    """Write rows into a database as Mastra makes it; bytes as a cell stay binary JSON."""

    def cell(value: object) -> object:
        return json.dumps(value) if isinstance(value, dict | list) else value

    renamed = [{"thread_id": row["threadId"], **row} for row in messages]
    tables = {
        "mastra_threads": threads,
        "mastra_messages": [{k: v for k, v in row.items() if k != "threadId"} for row in renamed],
        "mastra_resources": resources,
    }
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    for table, rows in tables.items():
        for row in rows:
            names = ", ".join(f'"{name}"' for name in row)
            marks = ", ".join("?" for _ in row)
            connection.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - our own names.
                [cell(value) for value in row.values()],
            )
    connection.commit()
    connection.close()


class Read:
    """What a reader finds in one file."""

    def __init__(
        self,
        form: str,
        content: object,
        *,
        resource: str | None = "r1",
        thread: str | None = None,
        file: str = "file.json",
    ) -> None:
        """``content`` is what the file holds: bytes, text, or a value to be written as JSON."""
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        asked = Asked(file, lambda: "c2FsdA==", resource, thread)
        found = list(FORMATS[form].reader(asked).read(Bytes(BytesIO(content))))
        self.conversations = [each for each in found if isinstance(each, Conversation)]
        self.faults = [each for each in found if isinstance(each, Fault)]
        skipped = [each for each in found if isinstance(each, Skipped)]
        self.skipped = {
            reason: sum(each.count for each in skipped if each.reason == reason)
            for reason in {each.reason for each in skipped}
        }

    @property
    def ids(self) -> list[str]:
        """The ids of all events."""
        return [item.event.id for each in self.conversations for item in each.items]

    def events(self, type_: str | None = None) -> list[dict[str, Any]]:
        """Return all events, or those of a type, as they would be published."""
        raw = [json.loads(item.event.payload) for each in self.conversations for item in each.items]
        return [event for event in raw if type_ in (None, event["type"])]

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages."""
        return [event["data"]["message"] for event in self.events("MessageAppended")]

    def told(self) -> list[str]:
        """Return the faults as they are shown."""
        return [f"{each.origin}: {each.reason}: {each.message}" for each in self.faults]
