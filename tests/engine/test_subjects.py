"""Subjects carry the address of an event, and only one form of each is ours."""

from __future__ import annotations

import pytest

from memfold.errors import InvalidEvent, InvalidId
from memfold.subjects import (
    FACETS,
    Address,
    check_namespace,
    parse_stored,
    publish_subject,
    query_subject,
    stored_filter,
    stream_subjects,
    stream_transform,
)

ADDRESSES = [
    Address("u1", "t1", "messages", "bot"),
    Address("u1", None, "memory", "bot"),
    Address(None, None, "memory", "admin"),
    Address("_", "_", "thread", "_"),
    Address("a.b*>", "é 😀", "messages", "x.y"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_comes_back_from_the_stored_subject(address: Address) -> None:
    published = publish_subject("ns", address)
    assert len(published.split(".")) == 6
    assert parse_stored("ns", published.replace("ns.publish.", "ns.events.7.", 1)) == address


def test_none_and_an_id_that_looks_like_none_stay_apart() -> None:
    assert publish_subject("ns", Address("_", None, "memory", "b")) == "ns.publish.%5F._.memory.b"
    assert publish_subject("ns", Address(None, None, "memory", "b")) == "ns.publish._._.memory.b"


@pytest.mark.parametrize(
    "subject",
    [
        "ns.publish.u1.t1.messages.bot",
        "ns.events.u1.t1.messages.bot",
        "events.3.u1.t1.messages.bot",
        "other.events.3.u1.t1.messages.bot",
        "nsx.events.3.u1.t1.messages.bot",
        "ns.events.3.u1.t1.messages.bot.more",
        "ns.events.3.u1.t1.chat.bot",
        "ns.events.3.u1.t1.Memory.bot",
        "ns.events.3._.t1.memory.bot",
        "",
    ],
)
def test_a_subject_of_another_form_is_invalid(subject: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_stored("ns", subject)
    assert caught.value.reason == "subject_invalid"


@pytest.mark.parametrize(
    "subject",
    [
        "ns.events.3.a%2eb.t1.messages.bot",
        "ns.events.3.u1.%41.messages.bot",
        "ns.events.3.u1.t1.messages._",
        "ns.events.3.u1.t1.messages.*",
        "ns.events.3..t1.messages.bot",
    ],
)
def test_a_token_in_another_form_than_its_own_is_not_canonical(subject: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_stored("ns", subject)
    assert caught.value.reason == "subject_not_canonical"


def test_the_filter_of_a_document_matches_any_partition_and_actor() -> None:
    address = Address("a.b", None, "memory", "bot")
    assert stored_filter("ns", address) == "ns.events.*.a%2Eb._.memory.*"


def test_the_stream_stores_under_a_partition_that_the_server_computes() -> None:
    assert stream_subjects("ns") == "ns.publish.*.*.*.*"
    assert stream_transform("ns") == (
        "ns.events.{{partition(16,1)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}"
    )


def test_queries_name_their_operation_and_resource() -> None:
    assert query_subject("ns", "snapshot", "a.b") == "ns.query.snapshot.a%2Eb"
    assert query_subject("ns", "status", None) == "ns.query.status._"


@pytest.mark.parametrize("namespace", ["a", "A-1_", "x" * 64])
def test_a_namespace_of_safe_characters_is_accepted(namespace: str) -> None:
    assert check_namespace(namespace) == namespace


@pytest.mark.parametrize("namespace", ["", "a.b", "a b", "é", "x" * 65, "a\n", "*"])
def test_a_namespace_that_could_not_name_a_stream_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidId):
        check_namespace(namespace)


def test_the_facets_are_the_five_of_the_design() -> None:
    assert {"memory", "messages", "thread", "resource", "erasure"} == FACETS
