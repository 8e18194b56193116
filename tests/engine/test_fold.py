"""The rules of the fold: what each event does, and every reason for which it does nothing."""

from __future__ import annotations

from typing import Any

import pytest

from memfold.limits import METADATA_BYTES_MAX
from memfold.state import Memory, State
from support.log import Log, dump, envelope, stored


def titles(log: Log) -> list[str]:
    return [message.id for message in log.messages()]


class TestMessages:
    def test_messages_keep_the_order_of_the_log_whatever_their_times(self) -> None:
        log = Log()
        log.append("m1", message={"created_at": "2030-01-01T00:00:00Z"})
        log.append("m2", message={"created_at": "2020-01-01T00:00:00Z"})
        assert titles(log) == ["m1", "m2"]

    def test_created_at_is_the_messages_else_the_envelopes_else_the_logs(self) -> None:
        log = Log()
        log.append("m1", message={"created_at": "1970-01-01T01:00:00.5+01:00"})
        log.append("m2", time="1970-01-01T00:00:07Z")
        log.append("m3", time=None)
        assert [m.created_at_us for m in log.messages()] == [500_000, 7_000_000, 3_000_000]

    def test_a_message_saved_again_keeps_its_position_and_created_at(self) -> None:
        log = Log()
        log.append("m1", "one", message={"metadata": {"a": 1}})
        created_at_us = log.messages()[0].created_at_us
        log.append("m2")
        again = {"role": "assistant", "created_at": "2030-01-01T00:00:00Z", "metadata": {"b": 2}}
        assert log.append("m1", "other", message=again).kind == "applied"
        assert titles(log) == ["m1", "m2"]
        saved = log.messages()[0]
        assert (saved.position, saved.created_at_us) == ((1, 0), created_at_us)
        assert (saved.role, saved.content, saved.metadata) == ("assistant", "other", {"b": 2})
        assert saved.updated_at_us == 3_000_000

    def test_a_message_saved_again_as_it_was_is_unchanged(self) -> None:
        log = Log()
        log.append("m1", message={"metadata": {"a": 1}})
        assert log.append("m1", message={"metadata": {"a": 1}}).kind == "unchanged"
        assert log.append("m1", message={"metadata": {"a": 1.0}}).kind == "applied"

    def test_a_message_deleted_and_appended_again_takes_a_new_position(self) -> None:
        log = Log()
        log.append("m1")
        log.append("m2")
        assert log.publish("MessageDeleted", {"id": "m1"}, thread="t1").kind == "applied"
        assert titles(log) == ["m2"]
        log.append("m1")
        assert titles(log) == ["m2", "m1"]
        assert log.messages()[1].position == (4, 0)

    def test_ids_are_unique_within_their_thread_alone(self) -> None:
        log = Log()
        log.append("m1", "one", thread="t1")
        log.append("m1", "two", thread="t2")
        log.append("m1", "three", resource="u2")
        assert [m.content for m in log.messages("t1") + log.messages("t2")] == ["one", "two"]
        assert log.state.messages["u2", "t1", "m1"].content == "three"

    def test_a_message_is_updated_in_place(self) -> None:
        log = Log()
        log.append("m1", message={"metadata": {"a": 1, "b": {"c": 1}}})
        patch = {"content": [{"text": "x"}], "metadata": {"a": None, "b": {"d": 1}}}
        outcome = log.publish("MessageUpdated", {"id": "m1", "patch": patch}, thread="t1")
        assert outcome.kind == "applied"
        (message,) = log.messages()
        assert message.content == [{"text": "x"}]
        assert message.role == "user"
        assert message.metadata == {"a": None, "b": {"d": 1}}
        assert (message.position, message.updated_at_us) == ((1, 0), 2_000_000)

    @pytest.mark.parametrize(
        "patch", [{}, {"role": "user"}, {"content": "hello"}, {"metadata": {}}, {"content": None}]
    )
    def test_an_update_of_a_message_that_changes_nothing_is_unchanged(
        self, patch: dict[str, Any]
    ) -> None:
        log = Log()
        log.append("m1")
        outcome = log.publish("MessageUpdated", {"id": "m1", "patch": patch}, thread="t1")
        assert outcome.kind == "unchanged"

    def test_an_update_of_an_unknown_message_or_thread_is_rejected(self) -> None:
        log = Log()
        update = {"id": "m1", "patch": {"role": "tool"}}
        outcome = log.publish("MessageUpdated", update, thread="t1")
        assert (outcome.kind, outcome.reason) == ("rejected", "thread_unknown")
        log.append("m2")
        outcome = log.publish("MessageUpdated", update, thread="t1")
        assert (outcome.kind, outcome.reason) == ("rejected", "message_unknown")

    def test_deleting_an_unknown_message_or_thread_is_unchanged(self) -> None:
        log = Log()
        assert log.publish("MessageDeleted", {"id": "m1"}, thread="t1").kind == "unchanged"
        log.append("m2")
        assert log.publish("MessageDeleted", {"id": "m1"}, thread="t1").kind == "unchanged"
        assert titles(log) == ["m2"]

    def test_the_events_of_a_batch_see_one_another(self) -> None:
        log = Log()
        append = {"message": {"id": "m1", "role": "user", "content": "hi"}}
        outcomes = log.put(
            stored("messages", thread="t1"),
            [
                envelope("MessageAppended", append, id="a"),
                envelope("MessageUpdated", {"id": "m9", "patch": {}}, id="b"),
                envelope("MessageDeleted", {"id": "m1"}, id="c"),
                envelope("MessageAppended", append, id="d"),
            ],
        )
        assert [outcome.kind for outcome in outcomes] == [
            "applied",
            "rejected",
            "applied",
            "applied",
        ]
        assert log.messages()[0].position == (1, 3)


class TestThreads:
    def test_the_first_message_creates_its_thread_and_resource_implicitly(self) -> None:
        log = Log()
        log.append("m1")
        thread = log.thread()
        assert (thread.live, thread.explicit, thread.incarnation) == (True, False, 1)
        assert (thread.began, thread.created_at_us, thread.title) == ((1, 0), 1_000_000, "")
        assert log.resource().began == (1, 0)

    @pytest.mark.parametrize("definition", [False, True])
    def test_the_first_memory_event_of_a_thread_creates_it_too(self, definition: bool) -> None:
        log = Log()
        if definition:
            log.define("t1", template="# Name")
        else:
            log.update("append", "text", thread="t1")
        assert log.thread().live

    def test_what_is_rejected_or_changes_nothing_creates_no_thread(self) -> None:
        log = Log()
        log.publish("MessageDeleted", {"id": "m"}, thread="t1")
        log.define("t2")
        log.append("m1", thread="t3", message={"metadata": {"a": "x" * METADATA_BYTES_MAX}})
        log.publish("ThreadUpdated", {"title": "x"}, thread="t4")
        log.update("merge", {"a": "x" * 300_000}, thread="t5")
        assert [key for key, thread in log.state.threads.items() if thread.live] == []
        assert log.state.resources == {}

    def test_a_created_thread_has_its_title_and_metadata(self) -> None:
        log = Log()
        data = {"title": "A \"title\" 'x' 😀", "metadata": {"a": None}}
        assert log.publish("ThreadCreated", data, thread="t1").kind == "applied"
        assert (log.thread().title, log.thread().metadata) == (data["title"], {"a": None})
        assert log.thread().explicit

    def test_an_implicit_thread_can_still_be_created_once(self) -> None:
        log = Log()
        log.append("m1")
        assert log.publish("ThreadCreated", {"title": "x"}, thread="t1").kind == "applied"
        assert (log.thread().title, log.thread().began) == ("x", (1, 0))
        outcome = log.publish("ThreadCreated", {"title": "y"}, thread="t1")
        assert (outcome.kind, outcome.reason) == ("rejected", "thread_exists")
        assert log.thread().title == "x"

    def test_metadata_merges_one_level_and_null_is_stored(self) -> None:
        log = Log()
        log.publish("ThreadCreated", {"title": "x", "metadata": {"a": {"b": 1}}}, thread="t1")
        change = {"metadata": {"a": {"c": 1}, "z": None}}
        assert log.publish("ThreadUpdated", change, thread="t1").kind == "applied"
        assert log.thread().metadata == {"a": {"c": 1}, "z": None}
        assert (log.thread().title, log.thread().updated_at_us) == ("x", 2_000_000)
        for same in ({}, change, {"title": "x"}):
            assert log.publish("ThreadUpdated", same, thread="t1").kind == "unchanged"
        assert log.publish("ThreadUpdated", {"title": ""}, thread="t1").kind == "applied"
        assert log.thread().title == ""

    def test_updating_an_unknown_thread_is_rejected_and_deleting_one_unchanged(self) -> None:
        log = Log()
        assert log.publish("ThreadUpdated", {"title": "x"}, thread="t1").reason == "thread_unknown"
        assert log.publish("ThreadDeleted", {}, thread="t1").kind == "unchanged"

    def test_a_deleted_thread_loses_its_messages_and_its_own_memory_alone(self) -> None:
        log = Log()
        log.append("m1")
        log.append("m1", thread="t2")
        log.append("m1", resource="u2")
        log.update("append", "own", thread="t1")
        log.define("t1", template="# Own")
        log.update("merge", {"kept": 1})
        log.publish("ThreadCreated", {"title": "x", "metadata": {"a": 1}}, thread="t1")
        assert log.publish("ThreadDeleted", {}, thread="t1").kind == "applied"
        thread = log.thread()
        assert (thread.live, thread.explicit, thread.title, thread.metadata) == (
            False,
            False,
            "",
            {},
        )
        assert log.messages("t1") == []
        assert log.memory("t1") == Memory(revision=5)
        assert log.state.messages.keys() == {("u1", "t2", "m1"), ("u2", "t1", "m1")}
        assert log.content() == {"kept": 1}
        assert log.publish("ThreadDeleted", {}, thread="t1").kind == "unchanged"

    def test_what_comes_after_a_deletion_starts_a_fresh_incarnation(self) -> None:
        log = Log()
        log.append("m1")
        log.publish("ThreadDeleted", {}, thread="t1")
        assert log.publish("ThreadUpdated", {"title": "x"}, thread="t1").reason == "thread_unknown"
        assert log.append("m1").kind == "applied"
        thread = log.thread()
        assert (thread.live, thread.incarnation, thread.began) == (True, 2, (4, 0))
        assert log.messages()[0].position == (4, 0)

    def test_a_message_of_an_earlier_incarnation_is_never_saved_again(self) -> None:
        """A state that was loaded may still hold it."""
        log = Log()
        log.append("m1")
        stale = dict(log.state.messages)
        log.publish("ThreadDeleted", {}, thread="t1")
        log.state.messages.update(stale)
        log.append("m1", "new")
        assert log.messages()[0].position == (3, 0)

    def test_a_late_write_does_not_resurrect_a_thread(self) -> None:
        log = Log()
        log.append("m1")
        assert log.append("m2", incarnation=1).kind == "applied"
        log.publish("ThreadDeleted", {}, thread="t1")
        for _ in range(2):
            late = log.append("m3", incarnation=1)
            assert (late.kind, late.reason) == ("rejected", "incarnation_ended")
            log.publish("MessageDeleted", {"id": "m9"}, thread="t1")
            if not log.thread().live:
                log.append("m4")
        assert log.append("m5", incarnation=2).kind == "applied"
        assert log.append("m6", incarnation=3).reason == "incarnation_ended"
        assert log.append("m7", thread="unknown", incarnation=1).reason == "incarnation_ended"
        assert titles(log) == ["m4", "m5"]

    def test_a_late_memory_update_of_a_thread_is_rejected_but_not_one_of_its_resource(self) -> None:
        log = Log()
        log.append("m1")
        log.publish("ThreadDeleted", {}, thread="t1")
        assert log.update("append", "x", "t1").kind == "applied"
        data = {"scope": "thread", "mode": "append", "content": "late"}
        late = log.publish("WorkingMemoryUpdated", data, thread="t1", incarnation=1)
        assert late.reason == "incarnation_ended"
        data = {"scope": "resource", "mode": "append", "content": "kept"}
        assert log.publish("WorkingMemoryUpdated", data, incarnation=1).kind == "applied"


class TestResources:
    def test_metadata_merges_one_level_and_null_is_stored(self) -> None:
        log = Log()
        assert log.publish("ResourceUpdated", {"metadata": {}}).kind == "applied"
        assert log.publish("ResourceUpdated", {"metadata": {"a": {"b": 1}}}).kind == "applied"
        change = {"metadata": {"a": {"c": 1}, "z": None}}
        assert log.publish("ResourceUpdated", change).kind == "applied"
        assert log.publish("ResourceUpdated", change).kind == "unchanged"
        assert log.resource().metadata == {"a": {"c": 1}, "z": None}
        assert (log.resource().created_at_us, log.resource().updated_at_us) == (
            1_000_000,
            3_000_000,
        )
        assert log.resource().revision == 4

    @pytest.mark.parametrize("bad", [{"metadata": "text"}, {"metadata": {"a": "x" * 70_000}}])
    def test_events_without_effect_give_a_resource_a_revision_but_no_life(
        self, bad: dict[str, Any]
    ) -> None:
        log = Log()
        assert log.publish("ResourceUpdated", bad).kind in {"parked", "rejected"}
        assert (log.resource().live, log.resource().revision) == (False, 1)
        log.append("m1")
        resource = log.resource()
        assert (resource.live, resource.began, resource.revision) == (True, (2, 0), 1)

    def test_a_resource_whose_first_event_was_refused_begins_with_the_next(self) -> None:
        log = Log()
        log.publish("ResourceUpdated", {"metadata": "text"})
        assert log.publish("ResourceUpdated", {"metadata": {}}).kind == "applied"
        resource = log.resource()
        assert (resource.began, resource.created_at_us, resource.revision) == ((2, 0), 2_000_000, 2)


class TestMemories:
    def test_scopes_and_owners_never_mix(self) -> None:
        log = Log()
        log.update("replace", "resource")
        log.update("replace", "thread", "t1")
        data = {"scope": "resource", "mode": "replace", "content": "other"}
        log.publish("WorkingMemoryUpdated", data, resource="u2")
        assert (log.content(), log.content("t1"), log.content("t2")) == ("resource", "thread", None)
        assert log.state.threads.keys() == {("u1", "t1")}

    def test_a_definition_is_put_replaced_and_taken_away(self) -> None:
        log = Log()
        assert log.define().kind == "unchanged"
        assert log.define(template="# A").kind == "applied"
        assert log.define(template="# A").kind == "unchanged"
        assert log.define(json_schema={"type": "object"}).kind == "applied"
        assert log.define().kind == "applied"
        assert log.memory() == Memory(revision=5)

    @pytest.mark.parametrize(
        ("definition", "reason"),
        [
            ({"json_schema": {"type": "wrong"}}, "schema_invalid"),
            ({"json_schema": {"$ref": "http://127.0.0.1:9/"}}, "schema_invalid"),
            ({"template": "x" * 70_000}, "definition_too_large"),
        ],
    )
    def test_a_definition_that_cannot_be_used_is_rejected(
        self, definition: dict[str, Any], reason: str
    ) -> None:
        log = Log()
        log.define(template="# A")
        outcome = log.define(**definition)
        assert (outcome.kind, outcome.reason) == ("rejected", reason)
        assert log.memory().definition is not None

    def test_a_namespace_default_belongs_to_no_resource(self) -> None:
        log = Log()
        data = {"scope": "resource", "template": "# Default"}
        assert log.publish("WorkingMemoryDefined", data, resource=None).kind == "applied"
        assert log.state.memories.keys() == {(None, None)}
        assert log.state.resources == {}

    def test_a_document_gets_a_keyframe_at_first_and_after_a_bounded_number_of_steps(self) -> None:
        log = Log()
        for number in range(130):
            log.update("merge", {"a": number})
        framed = [number for number, step in enumerate(log.steps) if step.keyframe is not None]
        assert framed == [0, 64, 128]
        keyframe = log.steps[64].keyframe
        assert keyframe is not None
        assert (keyframe.key, keyframe.document.content) == (("u1", None), {"a": 64})

    def test_a_large_document_gets_fewer_keyframes(self) -> None:
        log = Log()
        log.update("merge", {"big": "x" * 100_000})
        for number in range(110):
            log.update("merge", {"a": number})
        framed = [number for number, step in enumerate(log.steps) if step.keyframe is not None]
        assert framed == [0, 98]


@pytest.mark.parametrize(
    ("type_", "data", "thread"),
    [
        ("MessageAppended", {"message": {"id": "m1", "role": "user", "content": ""}}, "t1"),
        ("MessageUpdated", {"id": "m0", "patch": {}}, "t1"),
        ("ThreadCreated", {}, "t2"),
        ("ThreadUpdated", {}, "t1"),
        ("ResourceUpdated", {}, None),
    ],
)
def test_the_size_limit_of_metadata_is_exact(
    type_: str, data: dict[str, Any], thread: str | None
) -> None:
    def metadata(size: int) -> dict[str, Any]:
        return {"a": "x" * (size - len('{"a":""}'))}

    def with_metadata(size: int) -> dict[str, Any]:
        for part in ("message", "patch"):
            if part in data:
                return {**data, part: {**data[part], "metadata": metadata(size)}}
        return {**data, "metadata": metadata(size)}

    log = Log()
    log.append("m0")
    over = log.publish(type_, with_metadata(METADATA_BYTES_MAX + 1), thread=thread)
    assert (over.kind, over.reason) == ("rejected", "metadata_too_large")
    assert log.publish(type_, with_metadata(METADATA_BYTES_MAX), thread=thread).kind == "applied"


class TestIdentity:
    def test_the_same_event_again_is_a_duplicate_of_its_first_position(self) -> None:
        log = Log()
        log.append("m1", id="a", salt="one")
        log.append("m2", id="b")
        again = log.append("m1", id="a", salt="two")
        assert (again.kind, again.of) == ("duplicate", (1, 0))
        assert titles(log) == ["m1", "m2"]

    def test_a_duplicate_changes_nothing_even_after_its_effect_was_undone(self) -> None:
        log = Log()
        log.append("m1", id="a")
        log.publish("MessageDeleted", {"id": "m1"}, thread="t1")
        assert log.append("m1", id="a").kind == "duplicate"
        assert titles(log) == []

    def test_what_was_rejected_or_unchanged_once_is_a_duplicate_too(self) -> None:
        log = Log()
        update = {"id": "m1", "patch": {"role": "tool"}}
        assert log.publish("MessageUpdated", update, thread="t1", id="a").kind == "rejected"
        delete = {"id": "m1"}
        assert log.publish("MessageDeleted", delete, thread="t1", id="b").kind == "unchanged"
        log.append("m1")
        assert log.publish("MessageUpdated", update, thread="t1", id="a").of == (1, 0)
        assert log.publish("MessageDeleted", delete, thread="t1", id="b").of == (2, 0)
        assert titles(log) == ["m1"]

    def test_an_id_that_stands_for_two_contents_parks_the_second(self) -> None:
        log = Log()
        log.append("m1", "one", id="a")
        second = log.append("m1", "two", id="a")
        assert (second.kind, second.reason) == ("parked", "id_reused")
        assert log.append("m1", "one", id="a").kind == "duplicate"
        assert log.messages()[0].content == "one"

    def test_the_same_body_on_another_subject_is_not_a_duplicate(self) -> None:
        """A body may leave its owner to the subject: skipping it would lose a write in silence."""
        log = Log()
        log.append("m1", id="a")
        for other in ({"thread": "t2"}, {"resource": "u2"}):
            outcome = log.append("m1", id="a", **other)
            assert (outcome.kind, outcome.reason) == ("parked", "id_reused")

    def test_ids_belong_to_their_actor(self) -> None:
        log = Log()
        log.append("m1", id="a")
        other = envelope(
            "MessageAppended",
            {"message": {"id": "m2", "role": "user", "content": "x"}},
            id="a",
            source="other",
        )
        (outcome,) = log.put(stored("messages", thread="t1", actor="other"), other)
        assert outcome.kind == "applied"

    def test_a_duplicate_within_one_batch_is_found(self) -> None:
        log = Log()
        event = envelope(
            "MessageAppended", {"message": {"id": "m1", "role": "user", "content": "x"}}
        )
        outcomes = log.put(stored("messages", thread="t1"), [event, event])
        assert [(outcome.kind, outcome.of) for outcome in outcomes] == [
            ("applied", None),
            ("duplicate", (1, 0)),
        ]


class TestRevisions:
    def test_every_event_on_a_memorys_subject_moves_its_revision(self) -> None:
        """The stream compares an expected revision with its own last sequence of the subject."""
        log = Log()
        log.update("merge", {"a": 1}, id="x")
        assert log.update("merge", {"a": 1}, id="x").kind == "duplicate"
        assert log.memory().revision == 2
        assert log.update("merge", {"a": 1}).kind == "unchanged"
        assert log.memory().revision == 3
        assert log.update("append", "x").kind == "rejected"
        assert log.memory().revision == 4
        assert log.update("merge", "text").kind == "parked"
        assert log.memory().revision == 5
        assert log.put(stored("memory"), b"\xff")[0].kind == "parked"
        assert log.memory().revision == 6
        assert log.update("merge", {"a": 2}, id="x").reason == "id_reused"
        assert log.memory().revision == 7
        assert log.document().changed == (1, 0)

    def test_a_memory_that_was_never_written_has_a_revision(self) -> None:
        log = Log()
        log.put(stored("memory"), b"{")
        assert log.memory() == Memory(revision=1)

    def test_a_thread_has_one_that_outlives_its_incarnations(self) -> None:
        log = Log()
        log.put(stored("thread", thread="t1"), b"{")
        assert (log.thread().live, log.thread().incarnation, log.thread().revision) == (False, 0, 1)
        log.append("m1")
        assert (log.thread().live, log.thread().incarnation, log.thread().revision) == (True, 1, 1)
        log.publish("ThreadDeleted", {}, thread="t1")
        log.append("m1")
        assert (log.thread().incarnation, log.thread().revision) == (2, 3)
        assert log.publish("ThreadUpdated", {}, thread="t1").kind == "unchanged"
        assert log.thread().revision == 5

    def test_messages_move_none(self) -> None:
        log = Log()
        log.append("m1")
        assert (log.thread().revision, log.resource().revision) == (0, 0)
        assert log.state.memories == {}

    @pytest.mark.parametrize(
        "subject",
        [
            "memfold.events.3.u1.t1.resource.bot",
            "memfold.events.3.u1._.thread.bot",
            "memfold.events.3._._.resource.bot",
            "memfold.events.3._.t1.memory.bot",
            "memfold.events.3.u1.t1.erasure.bot",
            "elsewhere",
        ],
    )
    def test_a_subject_of_no_document_moves_nothing(self, subject: str) -> None:
        log = Log()
        assert log.put(subject, b"{")[0].kind == "parked"
        assert dump(log.state) == dump(State())
