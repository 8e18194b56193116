"""Messages for prompts, and what providers demand of them, as a judge that knows none of our code.

The rules are those the providers document and enforce with an error.
"""

from __future__ import annotations

import json
import re
from typing import Any

PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")

Message = dict[str, Any]


def user(content: Any, id_: str = "") -> Message:  # noqa: ANN401 - text or parts.
    return message("user", content, id_)


def assistant(content: Any, id_: str = "") -> Message:  # noqa: ANN401 - text or parts.
    return message("assistant", content, id_)


def message(role: str, content: Any, id_: str = "") -> Message:  # noqa: ANN401 - text or parts.
    return {"id": id_ or f"{role}-{content}"[:60], "role": role, "content": content}


def call(id_: str, name: str = "look", **arguments: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": "tool_call", "id": id_, "name": name, "arguments": arguments}


def result(id_: str, content: Any = "found") -> dict[str, Any]:  # noqa: ANN401 - any JSON.
    return {"type": "tool_result", "id": id_, "content": content}


def tool(id_: str, content: Any = "found") -> Message:  # noqa: ANN401 - any JSON.
    return message("tool", [result(id_, content)], f"tool-{id_}-{content}"[:60])


def judge_openai(messages: list[Message]) -> None:
    """Fail if OpenAI's chat completions would refuse the messages."""
    waiting: list[str] = []
    used: set[str] = set()
    for each in messages:
        role = each["role"]
        assert role in {"system", "user", "assistant", "tool"}
        if role == "tool":
            assert each["tool_call_id"] in waiting, "a result follows its call"
            waiting.remove(each["tool_call_id"])
            assert isinstance(each["content"], str)
            continue
        assert not waiting, "every call has its result before anybody says something else"
        calls = each.get("tool_calls", [])
        assert each["content"] or calls, "a message says something"
        for wish in calls:
            assert wish["type"] == "function"
            assert PLAIN.fullmatch(wish["id"])
            assert len(wish["id"]) <= 40
            assert PLAIN.fullmatch(wish["function"]["name"])
            assert isinstance(wish["function"]["arguments"], str)
            assert wish["id"] not in used
            used.add(wish["id"])
            waiting.append(wish["id"])
    assert not waiting


def judge_anthropic(messages: list[Message]) -> None:
    """Fail if Anthropic's messages interface would refuse the messages."""
    waiting: set[str] = set()
    used: set[str] = set()
    for place, each in enumerate(messages):
        assert each["role"] == ("user", "assistant")[place % 2], "they take turns, the user begins"
        content = each["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert blocks
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert set(results) == waiting, "results come right after their calls, all of them"
        assert len(results) == len(waiting)
        assert all(block["type"] == "tool_result" for block in blocks[: len(results)])
        waiting = set()
        for block in blocks:
            if block["type"] == "text":
                assert block["text"].strip(), "a text says something"
            elif block["type"] == "tool_use":
                assert each["role"] == "assistant"
                assert isinstance(block["input"], dict)
                assert PLAIN.fullmatch(block["id"])
                assert PLAIN.fullmatch(block["name"])
                assert block["id"] not in used
                used.add(block["id"])
                waiting.add(block["id"])
            elif block["type"] == "tool_result":
                _judge_result(block)
            else:
                _judge_media(block)
    assert not waiting
    json.dumps(messages)


def _judge_result(block: dict[str, Any]) -> None:
    content = block["content"]
    if block.get("is_error"):
        assert isinstance(content, str), "an error is text"
        assert content.strip(), "an error says something"
    for each in content if isinstance(content, list) else []:
        if each["type"] == "text":
            assert each["text"].strip(), "a text says something"
        else:
            _judge_media(each)


def _judge_media(block: dict[str, Any]) -> None:
    assert block["type"] in {"image", "document"}
    source = block["source"]
    match source["type"]:
        case "base64" if block["type"] == "image":
            assert source["media_type"] in {"image/png", "image/jpeg", "image/gif", "image/webp"}
        case "base64":
            assert source["media_type"] == "application/pdf"
        case "text":
            assert block["type"] == "document"
            assert source["media_type"] == "text/plain"
            assert source["data"].strip()
        case _:
            assert source["type"] == "url"
            assert source["url"].startswith("https://")
