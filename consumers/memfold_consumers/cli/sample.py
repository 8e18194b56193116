"""The conversation that ``memfold demo`` plays: our own words, nobody's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Turn:
    """One message; ``learned`` is what the agent merges into working memory because of it."""

    role: str
    text: str
    learned: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Clerk:
    """An agent that keeps notes of one kind, each under a key of its own."""

    name: str
    noun: str
    request: str


HOST: Final = "concierge"
THREAD: Final = "trip_to_lisbon"
CONVERSATION: Final = (
    Turn(
        "user",
        "Hi, I am Nora. I moved from Oslo to Porto last month.",
        {"profile": {"name": "Nora", "city": "Porto"}},
        "she introduced herself",
    ),
    Turn("assistant", "Welcome to Porto, Nora! How can I help?"),
    Turn(
        "user",
        "I need a train to Lisbon on Friday. A seat by the window, please.",
        {"travel": {"seat": "window", "next_trip": "Lisbon, Friday"}},
        "she asked for a seat",
    ),
    Turn("assistant", "There is one at 9:39 with a window seat left."),
    Turn(
        "user",
        "Oh, and I am a vegetarian, if there is lunch on board.",
        {"profile": {"diet": "vegetarian"}},
        "she told what she eats",
    ),
    Turn(
        "user",
        "Wait: I will bring my cello. Better take the aisle.",
        {"travel": {"seat": "aisle", "luggage": "a cello"}},
        "she changed her mind",
    ),
    Turn("assistant", "Aisle it is, with room for the cello."),
    Turn(
        "user",
        "My sister comes along after all, so Saturday instead of Friday.",
        {"travel": {"next_trip": "Lisbon, Saturday", "companion": "her sister"}},
        "the day changed",
    ),
)
CLERKS: Final = (
    Clerk("calendar", "appointment", "Please note my appointments."),
    Clerk("billing", "invoice", "Please keep track of my invoices."),
    Clerk("library", "book", "Please remember the books I like."),
    Clerk("garden", "plant", "Please list what grows on my balcony."),
)
NOTES_EACH: Final = 25


def note(clerk: Clerk, number: int) -> dict[str, Any]:
    """Return the one key that a clerk merges with its n-th note."""
    return {clerk.name: {f"{clerk.noun}_{number:02}": f"{clerk.noun} {number}, as she said"}}


def expected_memory() -> dict[str, Any]:
    """Return what the working memory must hold in the end, whatever the order of the agents."""
    whole: dict[str, Any] = {}
    for turn in CONVERSATION:
        for topic, facts in (turn.learned or {}).items():
            whole.setdefault(topic, {}).update(facts)
    for clerk in CLERKS:
        for number in range(1, NOTES_EACH + 1):
            whole.setdefault(clerk.name, {}).update(note(clerk, number)[clerk.name])
    return whole
