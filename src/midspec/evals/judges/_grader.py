"""A judge that is asked through `llm`: one request for one prompt, one typed reply, everything in the store.

All judges that name the same file share one store, and so one budget. What was answered is read from there. A question
is the same if the judge's model, its temperature and extra fields, the prompt and the number of the draw are: samples
that come to the same prompt share one paid reply, at any temperature; another `draw` asks again. Free of Inspect.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pydantic import Field, JsonValue

from midspec.core.fingerprint import fingerprint
from midspec.core.records import Message, Strict
from midspec.core.text import estimate_tokens
from midspec.evals._types import EvalTask, JudgeResponse, ModelResponse
from midspec.generation import estimate_stage
from midspec.llm import (
    Access,
    Client,
    ModelConfig,
    Outcome,
    OutcomeKind,
    Request,
    StageEstimate,
    Store,
    UnreadableReplyError,
    check_access,
    check_model_name,
    converse,
    open_client,
)

STAGE = "judging"
STORE = "judging.calls.sqlite"
MAX_TOKENS = 2000
_N_MOST_RENDERED = 200
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
        model: its name, such as `openai/<model>`.
        temperature: 0 takes the likeliest token; `None` leaves it to a provider that takes none.
        extra: fields of the provider's own (`{"reasoning_effort": "low"}`).
        draw: another number asks for other replies to the same prompts.
    """

    model: str
    temperature: float | None = Field(default=0.0, ge=0)
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    draw: int = 0

    def as_model(self) -> ModelConfig:
        """Return the same for `llm`.

        Raises:
            ConfigError: `model` names no provider that there is.
        """
        check_model_name(self.model, where="judge", role="judge")
        return ModelConfig(model=self.model, temperature=self.temperature, extra=self.extra)


class JudgeReply(NamedTuple):
    """What came back from a judge.

    Attributes:
        text: the reply, without hidden reasoning.
        stop_reason: Inspect's word: `stop`, `max_tokens`, `content_filter`, or `unknown` where nothing came.
        error: why nothing came; empty otherwise.
        outcome: the reply as `llm` recorded it; `None` where nothing came.
        is_stored: whether it was read from the store.
    """

    text: str
    stop_reason: str
    error: str = ""
    outcome: Outcome | None = None
    is_stored: bool = False

    def graded(self, judge: str, rubric: str) -> JudgeResponse:
        """Return the reply as rubrics read it."""
        return JudgeResponse(judge=judge, rubric=rubric, text=self.text, stop_reason=self.stop_reason)


class Grader:
    """A judge that is open; lives in the event loop that it was opened in.

    Args:
        client: answers requests.
        store: where replies are written.
        config: which judge it is.
        stage: the name under which its requests are counted.
    """

    def __init__(self, client: Client, store: Store, config: GraderConfig, stage: str = STAGE) -> None:
        self._client = client
        self._store = store
        self.config = config
        self._stage = stage
        self._asking: dict[str, asyncio.Task[JudgeReply]] = {}

    async def ask(
        self,
        prompt: str,
        *,
        turns: tuple[Message, ...] = (),
        max_tokens: int = MAX_TOKENS,
        check: Callable[[str], None] | None = None,
    ) -> JudgeReply:
        """Return the judge's reply; a cut one is asked again with a higher cap, one that can't be read once more.

        The same prompt asked twice at once is one request. A reply that an earlier run took as it was stays so.

        Args:
            prompt: the first user turn.
            turns: those after it.
            max_tokens: the first cap of the reply.
            check: raises `UnreadableReplyError` for a reply that is to be asked for again, with what is wrong.

        Raises:
            MidspecError: nothing more can be asked of this judge (the budget is used up, the server refuses the key).
        """
        request = self.request(prompt, turns, max_tokens)
        task = self._asking.get(request.task)
        if task is None:
            task = self._asking[request.task] = asyncio.get_running_loop().create_task(self._ask(request, check))

            def forget(done: asyncio.Task[JudgeReply]) -> None:
                self._asking.pop(request.task, None)
                if not done.cancelled():
                    done.exception()  # the callers have it; without any left, asyncio need not warn

            task.add_done_callback(forget)
        # A caller may be cancelled; the request is paid for by then, and its reply is for the others and the store.
        return await asyncio.shield(task)

    def request(self, prompt: str, turns: tuple[Message, ...] = (), max_tokens: int = MAX_TOKENS) -> Request:
        """Return the request for a prompt; the cap is not in its identity, since a cut reply is asked again anyway."""
        identity = {
            **self.config.model_dump(mode="json"),
            "prompt": prompt,
            "turns": [turn.model_dump(mode="json") for turn in turns],
        }
        task = f"verdict-{fingerprint(identity)}"
        return Request(task=task, stage=self._stage, prompt=prompt, turns=turns, max_tokens=max_tokens)

    async def settle(self) -> None:
        """Cancel what is still being asked; what was answered is in the store."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, request: Request, check: Callable[[str], None] | None) -> JudgeReply:
        settled = self._store.settled(request)
        is_stored = settled is not None
        # Before, only an empty reply was asked for again: what was taken then is not paid for a second time.
        is_taken = settled is not None and settled.kind == "ok"

        def read(text: str) -> None:
            _not_empty(text)
            if check is not None and not is_taken:
                check(text)

        outcome = (await converse(self._client, self._store, request, read, reads_reasoning=True)).outcome
        if (stop := _STOPS.get(outcome.kind)) is None:
            return JudgeReply("", "unknown", f"{outcome.kind}: {outcome.note}", outcome, is_stored)
        return JudgeReply(outcome.text, stop, "", outcome, is_stored)


def _not_empty(text: str) -> str:
    if not text.strip():
        raise UnreadableReplyError("it is empty")
    return text


def estimate_judging(
    eval_task: EvalTask[Any], config: Any, *, reply_tokens: int = 400, verdict_tokens: int = 150
) -> StageEstimate | None:
    """Estimate what one judge is asked for one run of a task, if no two answers are equal; `None` without a judge.

    Args:
        eval_task: the task.
        config: its settings.
        reply_tokens: an answer's mean length; never taken to be more than the settings allow.
        verdict_tokens: the judge's reply, its reasoning included.

    Raises:
        MidspecError: the questions can't be made.
    """
    rubric = eval_task.rubric(config)
    if rubric is None:
        return None
    questions = eval_task.questions(config)
    sample = questions[:: -(-len(questions) // _N_MOST_RENDERED)]
    no_response = ModelResponse(text="", stop_reason="stop")
    around = fmean(estimate_tokens(rubric.render(question, no_response)) for question in sample)
    prompt_tokens = around + min(reply_tokens, config.max_new_tokens)
    return estimate_stage(STAGE, len(questions) * config.repeats, verdict_tokens, prompt=prompt_tokens)


@contextmanager
def shared_store(path: Path) -> Iterator[Store]:
    """Open the store at `path`, one for all who have it open in this thread, so that they share its budget.

    Raises:
        MidspecError: see `Store`.
    """
    key = (threading.get_ident(), path.resolve())
    if key in _STORES:
        store, n_users = _STORES[key]
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        store, n_users = Store(path), 0
    _STORES[key] = (store, n_users + 1)
    try:
        yield store
    finally:
        store, n_users = _STORES.pop(key)
        if n_users > 1:
            _STORES[key] = (store, n_users - 1)
        else:
            store.close()


@asynccontextmanager
async def open_grader(
    config: GraderConfig, access: Access, path: Path, *, stage: str = STAGE
) -> AsyncIterator[tuple[Grader, Store]]:
    """Open a judge, which may be asked until the block ends, and its store.

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
