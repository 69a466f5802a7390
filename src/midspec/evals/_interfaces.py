"""What a provider of ours can do that Inspect's model interface lacks; to import it loads no model's library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from inspect_ai.model import GenerateConfig, Model, StopReason
from pydantic import JsonValue

from midspec.core.records import Message
from midspec.models import Generation, OptionScore

DEFAULTS = GenerateConfig()
STOP_REASONS: dict[str, StopReason] = {"stop": "stop", "length": "max_tokens"}


# Inspect's model interface returns log-probabilities of what a model chose to say, if at all, and never of a text that
# it is given. A provider that truly can says so by being an `OptionScorer`; for any other, measures from
# log-probabilities stay unscored.
class OptionScorer(ABC):
    """A provider that gives the log-probability of a given text as the assistant's turn."""

    @abstractmethod
    async def score_options(
        self, prompts: Sequence[Sequence[Message]], options: Sequence[str], *, n_concurrent: int = 1
    ) -> list[OptionScore]:
        """Return each option's log-probability after its prompt (nats, summed over tokens, without the end of turn).

        Args:
            prompts: conversations that end with the user's turn.
            options: as many texts as prompts.
            n_concurrent: how many calls like this one are being made at the same time; a hint for batching.
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
        n_concurrent: int = 1,
    ) -> list[Generation]:
        """Generate one answer to each prompt, in order.

        Args:
            prompts: conversations that end with the user's turn.
            max_new_tokens: the longest answer.
            temperature: 0 takes the likeliest token each time.
            seed: of sampling, where the temperature is above 0.
            n_concurrent: how many calls like this one are being made at the same time; a hint for batching.
        """

    @property
    def notes(self) -> list[str]:
        """What was done with prompts that a user should know, a sentence each; nothing for most providers."""
        return []


def template_notes(model: Model) -> dict[str, JsonValue]:
    """Return what a checkpoint's chat template did with prompts, as an entry of an execution; nothing for most."""
    notes = model.api.notes if isinstance(model.api, ManyGenerator) else []
    return {"template_notes": [*notes]} if notes else {}
