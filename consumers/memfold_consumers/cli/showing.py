"""How the reading commands show their answers to people."""

from __future__ import annotations

from typing import Any, cast

from memfold_consumers.cli.output import Printer, compact, pretty

Answer = dict[str, Any]


def print_memory(out: Printer, title: str, memory: Answer | None) -> None:
    """Print one working memory, pretty where it is JSON."""
    out.line()
    if memory is None:
        out.heading(f"{title}: none")
        return
    out.heading(f"{title}: {memory['format']}, revision {memory['revision']}")
    content = memory["content"]
    out.block(content if isinstance(content, str) else pretty(content))


def print_messages(out: Printer, found: list[Answer], *, with_thread: bool) -> None:
    """Print messages, each under a line that says when and who."""
    for message in found:
        thread = f"{message['thread']} " if with_thread else ""
        speaker = message["metadata"].get("speaker")
        who = message["role"] if not isinstance(speaker, str) else f"{message['role']} {speaker}"
        out.line(f"{message['created_at']} {thread}{message['id']} {who}", "cyan")
        out.block(compact(message["content"]))


def print_change(out: Printer, change: Answer) -> None:
    """Print one change: where, when, who, what, why, and what became of it."""
    cause = "" if change["causation"] is None else f" because of {change['causation']}"
    thread = "" if change["thread"] is None else f" {change['thread']}"
    reason = "" if change["reason"] is None else f": {change['reason']}"
    fate = "" if change["outcome"] == "applied" else f" [{change['outcome']}{reason}]"
    out.line(
        f"{change['sequence']}.{change['index']} {change['time']} "
        f"{change['actor']} {change['type']}{thread}{cause}{fate}",
        "cyan",
    )
    out.line(f"  {compact(change['data'])}")


def flat(prefix: str, value: Answer) -> list[tuple[str, Any]]:
    """Return nested objects as rows with names like ``stream.messages``."""
    rows: list[tuple[str, Any]] = []
    for name, item in value.items():
        if isinstance(item, dict):
            rows += flat(f"{prefix}{name}.", cast("Answer", item))
        else:
            rows.append((f"{prefix}{name}", item))
    return rows
