"""A judge that is asked through `llm`: one request for one prompt, one typed reply, everything on record.

In: a judge's name and settings, and how it is reached. Out: replies with Inspect's words for why they ended, or with
what kept the judge from answering. Nothing of Inspect is needed here.

A judge has one store (and so one budget) together with all other judges that name the same file. What was answered is
read from there, so asking the same again costs nothing. What makes a question the same is the judge's model, its
temperature and extra fields, the words, and the number of the draw: samples that come to the same prompt share one
paid reply, at any temperature. Whoever wants another draw says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, JsonValue, ValidationError

from midspec.core.errors import ConfigError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Message, Strict
from midspec.evals._types import JudgeResponse
from midspec.llm import (
    Access,
    Client,
    ModelConfig,
    Outcome,
    OutcomeKind,
    Request,
    Store,
    UnreadableReplyError,
    check_access,
    converse,
    open_client,
)

STAGE = "judging"
STORE = "judging.calls.sqlite"
MAX_TOKENS = 2000
_STOPS: dict[OutcomeKind, str] = {
    "ok": "stop",
    "unparsable": "stop",
    "refused": "content_filter",
    "filtered": "content_filter",
    "truncated": "max_tokens",
}
_STORES: dict[tuple[int, Path], tuple[Store, int]] = {}


class GraderConfig(Strict):
    """Which judge, and how it samples: what identifies its verdicts.

    Attributes:
        model: `anthropic/<model>` or `openai/<model>`.
        temperature: 0 takes the likeliest token; `None` leaves it to a provider that takes none.
        extra: fields of the provider's own (`{"reasoning_effort": "low"}`).
        draw: another number asks for other replies to the same prompts.
    """

    model: str
    temperature: float | None = Field(default=0.0, ge=0)
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    draw: int = 0

    def as_model(self) -> ModelConfig:
        """The same for `llm`.

        Raises:
            ConfigError: `model` names neither provider.
        """
        try:
            return ModelConfig(model=self.model, temperature=self.temperature, extra=self.extra)
        except ValidationError as error:
            what = "a judge is `anthropic/<model>` or `openai/<model>`"
            raise ConfigError(what, where=self.model, hint="Write the provider before the model") from error


class JudgeReply(NamedTuple):
    """What came back from a judge.

    Attributes:
        text: the reply, without hidden reasoning.
        stop_reason: Inspect's word: `stop`, `max_tokens`, `content_filter`, or `unknown` where nothing came.
        error: why nothing came; empty otherwise.
        outcome: the reply as `llm` recorded it; `None` where nothing came.
        was_known: whether it was read from the store.
    """

    text: str
    stop_reason: str
    error: str = ""
    outcome: Outcome | None = None
    was_known: bool = False

    def graded(self, judge: str, rubric: str) -> JudgeResponse:
        """The reply as rubrics read it."""
        return JudgeResponse(judge=judge, rubric=rubric, text=self.text, stop_reason=self.stop_reason)


class Grader:
    """A judge that is open; lives in the event loop that it was opened in.

    Args:
        client: answers requests.
        store: where they are kept.
        config: which judge it is.
        stage: the name under which its requests are counted.
    """

    def __init__(self, client: Client, store: Store, config: GraderConfig, stage: str = STAGE) -> None:
        self._client = client
        self._store = store
        self.config = config
        self._stage = stage
        self._asking: dict[str, asyncio.Task[JudgeReply]] = {}

    async def ask(self, prompt: str, *, turns: tuple[Message, ...] = (), max_tokens: int = MAX_TOKENS) -> JudgeReply:
        """The judge's reply; a cut one is asked again with a higher cap, an empty one once more (see `converse`).

        The same prompt asked twice at once is one request.

        Raises:
            MidspecError: nothing more can be asked of this judge (the budget is used up, the server refuses the key).
        """
        request = self.request(prompt, turns, max_tokens)
        task = self._asking.get(request.task)
        if task is None:
            task = self._asking[request.task] = asyncio.get_running_loop().create_task(self._ask(request))
            task.add_done_callback(lambda done: self._done(request.task, done))
        # Whoever asked may be cancelled; the request is paid for by then, and comes in for the others and the record.
        return await asyncio.shield(task)

    def request(self, prompt: str, turns: tuple[Message, ...] = (), max_tokens: int = MAX_TOKENS) -> Request:
        """What is asked for a prompt. The cap is no part of its identity: a cut reply is asked again all the same."""
        said = [turn.model_dump(mode="json") for turn in turns]
        identity = {**self.config.model_dump(mode="json"), "prompt": prompt, "turns": said}
        task = f"verdict-{fingerprint(identity)}"
        return Request(task=task, stage=self._stage, prompt=prompt, turns=turns, max_tokens=max_tokens)

    async def settle(self) -> None:
        """Let go of what is still being asked; what was answered is on record."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, request: Request) -> JudgeReply:
        was_known = self._store.settled(request) is not None
        said = await converse(self._client, self._store, request, _something)
        outcome = said.outcome
        if (stop := _STOPS.get(outcome.kind)) is None:
            return JudgeReply("", "unknown", f"{outcome.kind}: {outcome.note}", outcome, was_known)
        return JudgeReply(outcome.text, stop, "", outcome, was_known)

    def _done(self, key: str, task: asyncio.Task[JudgeReply]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever asked has it; if nobody is left, it is no news


def _something(text: str) -> str:
    if not text.strip():
        raise UnreadableReplyError("it is empty")
    return text


@contextmanager
def shared_store(path: Path) -> Iterator[Store]:
    """The store at `path`: one for all who have it open in this thread, so that they share what is set aside.

    Raises:
        MidspecError: see `Store`.
    """
    key = (threading.get_ident(), path.resolve())
    store, n_users = _STORES.get(key) or (_made(path), 0)
    _STORES[key] = (store, n_users + 1)
    try:
        yield store
    finally:
        store, n_users = _STORES.pop(key)
        if n_users > 1:
            _STORES[key] = (store, n_users - 1)
        else:
            store.close()


def _made(path: Path) -> Store:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Store(path)


@asynccontextmanager
async def open_grader(
    config: GraderConfig, access: Access, path: Path, *, stage: str = STAGE
) -> AsyncIterator[tuple[Grader, Store]]:
    """A judge that may be asked until the block ends, and its store.

    Args:
        config: which judge.
        access: how it is reached, and what all attempts of the store may cost together.
        path: the store's file; made with its folder where there is none.
        stage: the name under which its requests are counted.

    Raises:
        ConfigError: a key is missing, or a budget is set for a model whose price nobody knows.
        MidspecError: the store can't be used.
    """
    model = config.as_model()
    check_access(model, access)
    with shared_store(path) as store:
        async with open_client(model, access, store, role="judge") as client:
            grader = Grader(client, store, config, stage)
            try:
                yield grader, store
            finally:
                await grader.settle()
