"""The Bloom filter never forgets, and rarely imagines."""

from __future__ import annotations

from memfold_projections.bloom import CAPACITY_MIN, Bloom, local_hash, stable_hash


def test_everything_added_is_found_also_after_growing() -> None:
    """No false negatives, over several filters."""
    bloom = Bloom()
    values = [stable_hash("bot", f"e{n}") for n in range(CAPACITY_MIN * 3)]
    bloom.update(values)
    assert all(value in bloom for value in values)


def test_few_new_values_are_taken_for_known() -> None:
    """A filter at its capacity asks the table in vain for less than three in a hundred."""
    bloom = Bloom()
    bloom.update(stable_hash("bot", f"e{n}") for n in range(CAPACITY_MIN))
    wrong = sum(stable_hash("other", f"e{n}") in bloom for n in range(20_000))
    assert wrong < 600


def test_stable_hashes_are_the_same_for_ever() -> None:
    """They are stored, so they must not depend on the process."""
    assert f"{stable_hash('bot', 'e1'):016x}" == "4335d2457fe52716"


def test_local_hashes_are_64_bits_and_tell_threads_apart() -> None:
    """One message id in two threads has two hashes."""
    assert 0 <= local_hash(1, "m") < 2**64
    assert local_hash(1, "m") != local_hash(2, "m")
