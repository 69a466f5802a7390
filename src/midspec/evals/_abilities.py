"""What a provider can do beyond Inspect's own `generate`: answer many prompts in one call, and score given texts.

Inspect's model interface returns log-probabilities of what a model chose to say, if at all, and never of a text that
it is given. A provider that truly can says so by being an `OptionScorer`; for any other, measures from
log-probabilities stay unscored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from midspec.core.records import Message
from midspec.models import Generation, OptionScore


class OptionScorer(ABC):
    """A provider that gives the log-probability of a given text as the assistant's turn."""

    @abstractmethod
    async def score_options(
        self, prompts: Sequence[Sequence[Message]], options: Sequence[str], *, beside: int = 1
    ) -> list[OptionScore]:
        """The log-probability (nats, summed over tokens, end of turn left out) of each option after its prompt.

        Args:
            prompts: conversations that end with the user's turn.
            options: as many texts as prompts.
            beside: how many calls like this one are being made at the same time; a hint for batching.
        """


class ManyGenerator(ABC):
    """A provider that answers many prompts in one call."""

    @abstractmethod
    async def generate_many(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        beside: int = 1,
    ) -> list[Generation]:
        """One answer to each prompt, in their order.

        Args:
            prompts: conversations that end with the user's turn.
            max_new_tokens: the longest answer.
            temperature: 0 takes the likeliest token each time.
            seed: of sampling, where the temperature is above 0.
            beside: how many calls like this one are being made at the same time; a hint for batching.
        """
