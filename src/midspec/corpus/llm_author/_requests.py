"""Asking for one corpus: what all its requests share, and lists that are asked for until they are long enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import JsonValue

from midspec.core.errors import ConfigError
from midspec.core.fingerprint import fingerprint, hash_text
from midspec.corpus._config import CorpusConfig
from midspec.corpus.llm_author._prompts import prompts_digest, template
from midspec.corpus.llm_author._sizes import check_author
from midspec.llm import Client, ParsedReply, Request, Store, converse

T = TypeVar("T")
EntryType = TypeVar("EntryType")

_ID_LENGTH = 16
_TASK_LENGTH = 32
_IDLE_ROUNDS = 2
_EXTRA_ROUNDS = 6
_SHOWN = 60


def id_of(*content: str) -> str:
    """An id made of the parent's id and the content."""
    return hash_text("\n".join(content))[:_ID_LENGTH]


@dataclass(frozen=True)
class ListRequest(Generic[EntryType]):
    """A list that is wanted.

    Attributes:
        stage: the step of the method.
        parent: id of what the list belongs to.
        wanted: how many entries.
        prompt: how many are asked for now, how many exist, and the words that show them -> the prompt.
        read: the entries of a reply; raises `Unreadable`.
        name: an entry's name; no two entries have the same.
        batch: how many to ask for at once.
    """

    stage: str
    parent: str
    wanted: int
    prompt: Callable[[int, int, str], str]
    read: Callable[[str], Sequence[EntryType]]
    name: Callable[[EntryType], str]
    form: dict[str, JsonValue]
    batch: int = 25
    taken: tuple[str, ...] = ()


class RequestSender:
    """Sends the requests of one corpus and counts what came of them.

    A request's task is the hash of all that makes another reply wanted: spec, names, mode, prompts, model and
    sampling, the parent's id and the number of the draw. Sizes are not in it, so that a larger corpus goes on from
    a smaller one.
    """

    def __init__(self, config: CorpusConfig, spec_sha256: str, prefix: str, client: Client, store: Store) -> None:
        self.prefix = prefix
        self.outcomes: dict[str, Counter[str]] = {}
        self._client, self._store = client, store
        self._writing = check_author(config)
        self._prefix_sha256 = hash_text(prefix)
        self._base = fingerprint(
            [spec_sha256, self._prefix_sha256, prompts_digest(), config.author_model, config.mode, config.seed]
        )

    @property
    def root(self) -> str:
        """The id that all others descend from."""
        return self._base[:_ID_LENGTH]

    def task(self, stage: str, *content: str) -> str:
        """The task of a request."""
        return hash_text("\n".join((self._base, stage, *content)))[:_TASK_LENGTH]

    def digest(self, prompt: str) -> str:
        """SHA-256 of the shared prefix's SHA-256 and a prompt."""
        return hash_text(f"{self._prefix_sha256}\n{prompt}")

    async def ask(
        self,
        stage: str,
        content: tuple[str, ...],
        prompt: str,
        read: Callable[[str], T],
        form: dict[str, JsonValue] | None = None,
    ) -> ParsedReply[T]:
        """Ask once, by the policy of `converse`, and count the outcome.

        Raises:
            MidspecError: what ends the whole run.
        """
        request = Request(
            task=self.task(stage, *content),
            stage=stage,
            prompt=prompt,
            prefix=self.prefix,
            form=form,
            max_tokens=self._writing.document_tokens if form is None else self._writing.list_tokens,
        )
        cap = max(self._writing.cap_tokens, request.max_tokens)
        said = await converse(self._client, self._store, request, read, rephrase=_rephrased, cap_tokens=cap)
        self.outcomes.setdefault(stage, Counter())[said.outcome.kind] += 1
        if said.outcome.kind == "over_budget":
            raise ConfigError(
                "the budget is used up", where=stage, hint="Raise --budget and run the same command again"
            )
        return said

    async def batches(self, listing: ListRequest[EntryType]) -> AsyncIterator[list[EntryType]]:
        """The entries of a list as they come, until there are enough or nothing new comes any more.

        Each further round shows what exists. Two rounds in a row without anything new end it.
        """
        have: dict[str, str] = {_key(name): name for name in listing.taken}
        n_taken, idle, draw = len(have), 0, 0
        most = listing.wanted // listing.batch + _EXTRA_ROUNDS
        while (n_have := len(have) - n_taken) < listing.wanted and idle < _IDLE_ROUNDS and draw < most:
            n = min(listing.batch, listing.wanted - n_have)
            prompt = listing.prompt(n, n_have, _existing(list(have.values()), n))
            said = await self.ask(listing.stage, (listing.parent, str(draw)), prompt, listing.read, listing.form)
            draw += 1
            fresh: list[EntryType] = []
            for entry in said.value or ():
                name = listing.name(entry)
                if _key(name) not in have and len(have) - n_taken < listing.wanted:
                    have[_key(name)] = name
                    fresh.append(entry)
            idle = 0 if fresh else idle + 1
            if fresh:
                yield fresh
            if said.outcome.kind == "failed":
                return

    async def listed(self, listing: ListRequest[EntryType]) -> list[EntryType]:
        """All of a list at once."""
        return [entry async for batch in self.batches(listing) for entry in batch]


def _rephrased(request: Request) -> Request:
    return request.model_copy(update={"prompt": template("rephrase").fill({"prompt": request.prompt})})


def _existing(names: list[str], n: int) -> str:
    if not names:
        return ""
    lines = "\n".join(f"- {name}" for name in names[-_SHOWN:])
    return template("more").fill({"existing": lines, "n": str(n)})


def _key(name: str) -> str:
    return " ".join("".join(char if char.isalnum() else " " for char in name.casefold()).split())
