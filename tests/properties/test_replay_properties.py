"""Replay by the log's own rules: nothing left out changes nothing, everything leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from memfold.audit.counterfactual import Exclusion, Fold, leave_out, position_of
from memfold.audit.restoring import restored
from memfold.audit.shown import contents, served
from memfold.audit.states import differences
from memfold.canonical import encode_text
from memfold.errors import InvalidRequest
from memfold.state import State
from support.log import FACETS, dump, envelope, read, stored
from support.strategies import logs

Published = list[tuple[str, dict[str, Any]]]


def folded(published: Published) -> Fold:
    fold = Fold()
    for sequence, (subject, payload) in enumerate(published, start=1):
        for event in read(subject, payload, sequence=sequence):
            fold.add(event)
    return fold


@given(logs())
def test_leaving_out_nothing_gives_the_same_state(published: Published) -> None:
    fold = folded(published)
    found = leave_out(fold, Exclusion())
    assert found.fallen == []
    assert dump(found.state) == dump(fold.state)


@given(logs())
def test_leaving_out_everyone_leaves_nothing(published: Published) -> None:
    fold = folded(published)
    state = leave_out(fold, Exclusion(actors=frozenset({"bot"}))).state
    for resource in ("u1", "u2"):
        assert contents(state, resource) == {}
        assert served(state, resource) == {}


@given(logs(), st.data())
def test_what_is_left_out_is_folded_nowhere_and_the_rest_as_it_was(
    published: Published, data: st.DataObject
) -> None:
    """With no consequences to follow, it is as if the others had been published alone."""
    for _, event in published:
        event["source"] = "bot"
        event.pop("incarnation", None)
    fold = folded(published)
    positions = {position_of(event) for event in fold.events}
    gone = frozenset(each for each in sorted(positions) if data.draw(st.booleans(), "left out"))
    found = leave_out(fold, Exclusion(events=gone, consequences=data.draw(st.booleans())))
    left_out = {position_of(each.event) for each in found.fallen}
    assert left_out <= gone
    alone = Fold()
    for each in fold.events:
        if position_of(each) not in left_out:
            alone.add(each)
    for resource in ("u1", "u2"):
        assert contents(found.state, resource) == contents(alone.state, resource)


@given(logs(), logs())
def test_differences_lead_from_one_state_to_the_other(first: Published, second: Published) -> None:
    before, after = (contents(folded(each).state, "u1") for each in (first, second))
    found = differences(before, after)
    equal = {
        key: key in before and key in after and encode_text(before[key]) == encode_text(after[key])
        for key in before.keys() | after.keys()
    }
    differing = {(each.kind, each.thread or "", each.message or "") for each in found}
    assert differing == {key for key, same in equal.items() if not same}
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    for there, back in zip(found, differences(after, before), strict=True):
        forth = sorted(turned[part.change] + encode_text([part.after]) for part in there.parts)
        if there.kind != "working_memory":
            assert forth == sorted(part.change + encode_text([part.before]) for part in back.parts)


class Told:
    """A log that several actors tell: each writes its own name, or says again what stood before."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.sequence = 0
        self.pasts: list[State] = [State()]
        self.payloads: list[tuple[str, dict[str, Any]]] = []

    def put(self, type_: str, data: object, actor: str, thread: str | None, **more: Any) -> None:  # noqa: ANN401
        event = envelope(type_, data, source=actor, id=f"e{self.sequence + 1}", **more)
        self.publish(stored(FACETS[type_], thread=thread, actor=actor), event)

    def publish(self, subject: str, event: dict[str, Any]) -> None:
        self.sequence += 1
        self.payloads.append((subject, event))
        for each in read(subject, event, sequence=self.sequence):
            self.fold.add(each)
        state = self.fold.state
        self.pasts.append(
            State(
                dict(state.memories),
                dict(state.threads),
                dict(state.resources),
                dict(state.messages),
            )
        )

    def again(self, number: int) -> None:
        """Deliver a message once more."""
        if number < len(self.payloads):
            self.publish(*self.payloads[number])

    def memory(self, thread: str | None, at: int) -> Any:  # noqa: ANN401  # any JSON value
        memory = self.pasts[at].memories.get(("u1", thread))
        return None if memory is None or memory.document is None else memory.document.content

    def write(self, actor: str, thread: str | None, mode: str, content: object) -> None:
        data = {"mode": mode, "scope": _scope(thread), "content": content}
        self.put("WorkingMemoryUpdated", data, actor, thread)

    def quote(self, actor: str, thread: str, name: str) -> None:
        """Write into the memory what a message says, and that it rests on that."""
        message = self.fold.state.messages.get(("u1", thread, name))
        if message is not None:
            data: dict[str, Any] = {"scope": "resource", "mode": "merge"}
            data["content"] = {"q": {thread: message.content}}
            data["evidence"] = [{"thread": thread, "message": name}]
            self.put("WorkingMemoryUpdated", data, actor, None)

    def answer(self, actor: str, position: int) -> None:
        """Write who published an event, and that it was the cause."""
        events = list(self.fold.readable())
        if position >= len(events):
            return
        cause = events[position]
        data = {"scope": "resource", "mode": "merge", "content": {"said": cause.address.actor}}
        causation = cause.envelope.id
        self.put("WorkingMemoryUpdated", data, actor, None, causationid=causation)

    def revert(self, actor: str, thread: str | None, to: int, path: str | None) -> None:
        """Publish what ``WorkingMemory.revert`` would."""
        try:
            change = restored(self.memory(thread, -1), self.memory(thread, to), path)
        except InvalidRequest:
            return
        if change is not None:
            reverts = {"sequence": to, **({"path": path} if path else {})}
            data = {"mode": change.mode, "content": change.content, "reverts": reverts}
            self.put("WorkingMemoryUpdated", data | {"scope": _scope(thread)}, actor, thread)

    def clone(self, actor: str, thread: str, target: str) -> None:
        """Publish what ``Thread.clone`` would."""
        state = self.pasts[-1]
        source = {"resource": "u1", "thread": thread, "sequence": self.sequence}
        there, taken = (state.threads.get(("u1", name)) for name in (thread, target))
        if there is None or not there.live or (taken is not None and taken.live):
            return
        memory = self.memory(thread, -1)
        self.put("ThreadCloned", {"source": source}, actor, target)
        copied = [message for key, message in state.messages.items() if key[1] == thread]
        for message in copied:
            body = {"id": message.id, "role": message.role, "content": message.content}
            body["metadata"] = message.metadata
            self.put("MessageAppended", {"message": body}, actor, target)
        if memory is not None:
            data = {"scope": "thread", "mode": "replace", "content": memory}
            self.put("WorkingMemoryUpdated", data, actor, target)
        title = {"title": there.title, "metadata": there.metadata}
        self.put("ThreadCreated", title, actor, target)
        ids = {message.id: message.id for message in copied}
        self.put("ThreadCloned", {"source": source, "messages": ids}, actor, target)


def _scope(thread: str | None) -> str:
    return "resource" if thread is None else "thread"


THREADS = st.sampled_from(["t1", "t2"])
SOURCES = st.sampled_from(["t1", "t2", "c1"])
CLONES = st.sampled_from(["c1", "c2"])
PLACES = st.sampled_from([None, "t1", "c1"])
OPS = ["title", "end", "revert", "revert", "clone", "clone", "quote", "quote", "answer", "again"]
SHAPES: st.SearchStrategy[Callable[[str], dict[str, Any]]] = st.sampled_from(
    [
        lambda word: {"a": {"b": word}},
        lambda word: {"a": {"d": word}},
        lambda word: {"a": None, "c": word},
        lambda word: {"c": word},
    ]
)
PATHS = st.sampled_from([None, "/a", "/a/b", "/c"])


@st.composite
def told(draw: st.DrawFn) -> Told:
    """Draw a log in which an actor's words are those with its name, or copies of others'."""
    told = Told()
    for _ in range(draw(st.integers(8, 24))):
        actor = draw(st.sampled_from(["mallory", "mallory", "good", "fair"]))
        # One that is honest is often brief: then two say the same.
        word = actor if actor == "mallory" else draw(st.sampled_from([actor, "same"]))
        thread = draw(THREADS)
        match draw(st.sampled_from(["say", "say", "change", "memory", "memory", "text", *OPS])):
            case "say":
                body = {"id": draw(st.sampled_from(["m1", "m2"])), "role": "user", "content": word}
                told.put("MessageAppended", {"message": body}, actor, thread)
            case "change":
                patch = draw(st.sampled_from([{"content": word}, {"metadata": {"by": word}}]))
                data = {"id": draw(st.sampled_from(["m1", "m2"])), "patch": patch}
                told.put("MessageUpdated", data, actor, thread)
            case "memory":
                mode, shape = draw(st.sampled_from(["merge", "replace"])), draw(SHAPES)
                told.write(actor, draw(PLACES), mode, shape(word))
            case "text":
                told.write(actor, thread, "replace", f"{word}\nx")
            case "title":
                told.put("ThreadUpdated", {"title": word, "metadata": {"k": word}}, actor, thread)
            case "end":
                told.put("ThreadDeleted", {}, actor, thread)
            case "revert":
                to = max(0, told.sequence - draw(st.integers(0, 8)))
                told.revert(actor, draw(PLACES), to, draw(PATHS))
            case "quote":
                told.quote(actor, thread, draw(st.sampled_from(["m1", "m2"])))
            case "answer":
                told.answer(actor, draw(st.integers(1, 20)))
            case "clone":
                told.clone(actor, draw(SOURCES), draw(CLONES))
            case _:
                told.again(draw(st.integers(0, 20)))
    return told


@given(told())
def test_nothing_of_an_actor_stays(told: Told) -> None:
    """Whatever was copied, restored or said again by others: its words are in no document."""
    found = leave_out(told.fold, Exclusion(actors=frozenset({"mallory"})))
    shown = contents(found.state, "u1")
    assert "mallory" not in encode_text(list(shown.values()))
    positions = [position_of(each.event) for each in found.fallen]
    assert positions == sorted(positions)
    for each in found.fallen:
        assert (each.after is None) == (each.why == "actor")
        assert each.after is None or (
            each.after in positions and each.after < position_of(each.event)
        )


@given(told())
def test_following_what_followed_from_nothing_changes_nothing(told: Told) -> None:
    found = leave_out(told.fold, Exclusion(actors=frozenset({"nobody"})))
    assert found.fallen == []
    assert dump(found.state) == dump(told.fold.state)
