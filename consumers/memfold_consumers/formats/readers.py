"""The formats of exported conversations, each with its reader: a new one is added here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from memfold_consumers.formats.anthropic import AnthropicReader
from memfold_consumers.formats.conversations import Found
from memfold_consumers.formats.exports import Asked
from memfold_consumers.formats.mastra import MastraReader
from memfold_consumers.formats.openai import OpenAIReader
from memfold_consumers.formats.values import Bytes


class Reader(Protocol):
    """Reads one file."""

    def read(self, stream: Bytes) -> Iterator[Found]:
        """Yield its conversations, what does not fit, and what is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A format; ``names_resource`` tells that its files say whose conversations they are."""

    reader: Callable[[Asked], Reader]
    names_resource: bool = False


FORMATS: Final[Mapping[str, Format]] = {
    "openai": Format(OpenAIReader),
    "anthropic": Format(AnthropicReader),
    "mastra": Format(MastraReader, names_resource=True),
}
