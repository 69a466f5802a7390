"""From topics to chats without barriers: an answer starts when its question exists, a verdict when its answer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from midspec.chats._chats import CHAT_STYLES, ChatConfig
from midspec.chats.llm_author._novelty import Embed, Novelty
from midspec.chats.llm_author._topic_state import ENTRY_TOKENS, PassRate, PendingQuestion, TopicState, reason_of, shares
from midspec.chats.llm_author.styles import N_SHOWN, PROMPTS, ChatPrompt, ChatStyle, Question, Topic
from midspec.core.artifact import ProgressCallback
from midspec.core.errors import ConfigError
from midspec.core.fingerprint import fingerprint, hash_text, id_of
from midspec.core.records import Chat, ChatMetadata, Message, Reject, Spec
from midspec.generation import DiskBuffer, Pool
from midspec.llm import (
    Client,
    ModelConfig,
    Outcome,
    ParsedReply,
    ReplyCaps,
    Request,
    Store,
    UsableReplies,
    converse,
    model_name_forms,
)

T = TypeVar("T")
# Two lists of topics in a row without a new one: a third would be no better.
_MAX_EMPTY_LISTS = 2


@dataclass(frozen=True)
class ChatModels:
    """The models that write and judge chats.

    Attributes:
        author: answers the author's requests, from the store first.
        judge: the judge's, the same way.
        store: keeps every reply, and which questions were accepted and answered.
        embed: turns questions into vectors, if near duplicates by meaning are to be found.
        width: requests wanted in flight; no part of the result.
    """

    author: Client
    judge: Client
    store: Store
    embed: Embed | None = None
    width: int = 50


class BufferedRow(NamedTuple):
    """A row in a buffer: its key in the final order, the number of its topic, and its number in the buffer."""

    order: str
    topic: int
    row: int


class ChatPipeline:
    """Writes the chats of one config into buffers on disk, with what is rejected.

    What is asked next follows from replies and from the order in which they came. So the store keeps, beside the
    replies, which of two like questions came first, which questions were answered and how many lists were asked for;
    a run that goes on where another stopped first replays all that, and comes to the same chats.

    Args:
        spec: with its placeholders filled.
        config: of a model author.
        models: how they are reached.
        folder: on the disk that takes the buffers.
        on_progress: is told how many chats are kept, of how many, and how it goes.

    Raises:
        ConfigError: the config's author is no model, or its templates lack what the style needs.
    """

    def __init__(
        self, spec: Spec, config: ChatConfig, models: ChatModels, folder: Path, on_progress: ProgressCallback
    ) -> None:
        if config.writing is None or config.author_model is None or config.judge is None:
            hint = f"Give {model_name_forms()}"
            raise ConfigError("is no language model", where=f"author: {config.author}", hint=hint)
        self._author_model, self._judge_model, self._writing = config.author_model, config.judge, config.writing
        self._spec, self._config, self._models, self._on_progress = spec, config, models, on_progress
        self.style: ChatStyle = CHAT_STYLES.get(config.style)(spec, config)
        self.chats, self.rejects = DiskBuffer(folder, Chat), DiskBuffer(folder, Reject)
        self.usable = UsableReplies(models.store, where=config.author)
        self._usable_verdicts = UsableReplies(models.store, where=f"judge {config.judge.model}")
        self._pool = Pool(models.width)
        self._author_caps, self._judge_caps = ReplyCaps(), ReplyCaps()
        self._prefix_sha256 = hash_text(self.style.prefix)
        self._scopes: dict[int, tuple[str, Novelty]] = {}
        pattern = self.style.questions_prompt(Topic("", ""), (), 0).text
        self._log = f"chats/{fingerprint([config.style, config.author_model, self._prefix_sha256, pattern])}"
        self._started = {key.rpartition("/")[2] for key, _ in models.store.kept(f"{self._log}/answer/")}
        self._n_lists = Counter(key.split("/")[3] for key, _ in models.store.kept(f"{self._log}/list/"))
        self._is_replaying = bool(self._started)
        self._has_topics = False
        self._seen: set[str] = set()
        self._n_unassigned = 0
        self.n_wanted = config.n_wanted or 0
        self.topics: list[TopicState] = []
        self.rate = PassRate()
        self.chat_rows: list[BufferedRow] = []
        self.reject_rows: list[BufferedRow] = []
        self.n_asked = 0
        self.n_questions = 0
        self.question_faults: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.failed_lists: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.chats.close()
        self.rejects.close()

    async def run(self) -> None:
        """Write until every topic has its share, or can give no more.

        Raises:
            MidspecError: what ends the run, as a budget that is used up.
        """
        if self.style.topics:
            self._open(self.style.topics, tuple(shares(self.n_wanted, len(self.style.topics))))
            self._end_topics()
        else:
            self._pool.add(self._find_topics, first=True)
        await self._pool.run()

    # Topics --------------------------------------------------------------------------------------------------------

    async def _find_topics(self) -> None:
        if self.style.is_even:
            listed = await self._list_topics((), 0, 0)
            self._open(listed, tuple(shares(self.n_wanted, max(1, len(listed)))))
            self._end_topics()
            return
        n_topics = self._writing.n_domains or ceil(self.n_wanted / self._writing.questions_per_domain)
        wanted = tuple(shares(self.n_wanted, min(n_topics, self.n_wanted)))
        names: list[str] = []
        n_empty = draw = 0
        while len(self.topics) < len(wanted) and n_empty < _MAX_EMPTY_LISTS:
            # Always whole lists, so that a larger pool, or the pool after a preview, uses the same ones.
            listed = await self._list_topics(names, self._writing.domains_per_batch, draw)
            known = {name.casefold() for name in names}
            fresh = {topic.name.casefold(): topic for topic in reversed(listed) if topic.name.casefold() not in known}
            topics = tuple(reversed(fresh.values()))
            names += [topic.name for topic in topics]
            n_empty, draw = (0 if topics else n_empty + 1), draw + 1
            at = len(self.topics)
            self._open(topics[: len(wanted) - at], wanted[at:])
        self._reassign(sum(wanted[len(self.topics) :]))
        self._end_topics()

    async def _list_topics(self, shown: Sequence[str], n_wanted: int, draw: int) -> tuple[Topic, ...]:
        prompt = self.style.topics_prompt(shown, n_wanted)
        reply = await self._ask_author("topics", prompt, self.style.read_topics, draw, n_wanted=n_wanted)
        if reply.value is None:
            self._reject_list("a list of topics", reply.outcome)
            return ()
        for reject in reply.value.rejects:
            self.reject(reject, -1)
        return reply.value.topics

    def _open(self, topics: Sequence[Topic], targets: Sequence[int]) -> None:
        first = len(self.topics)
        for topic, target in zip(topics, targets, strict=False):
            max_lists = self._writing.n_rounds * ceil(max(target, 1) / self._writing.questions_per_batch)
            self.topics.append(TopicState(len(self.topics), topic, target, target, max_lists))
        for state in self.topics[first:]:
            self._refill(state)
        n_unassigned, self._n_unassigned = self._n_unassigned, 0
        self._reassign(n_unassigned)

    def _end_topics(self) -> None:
        self._has_topics = True
        self._end_replay()

    def _refill(self, state: TopicState) -> None:
        """Begin what a topic needs next."""
        store = self._models.store
        list_key = id_of(state.topic.name)
        if self._is_replaying:
            steps = state.replay_steps(self._started, self._n_lists[list_key])
        elif self.rate.n_kept >= self.n_wanted and not self.style.is_even:
            return
        else:
            steps = state.next_steps(self.rate)
        for pending in steps.start:
            self.n_asked += 1
            store.keep(f"{self._log}/answer/{pending.id}", "")
            self._pool.add(partial(self._answer_and_judge, state, pending))
        if steps.wants_list:
            store.keep(f"{self._log}/list/{list_key}/{state.n_lists}", state.topic.name)
            self._pool.add(partial(self._list_questions, state), first=True)
        self._reassign(steps.n_given_up)
        self._end_replay()

    def _end_replay(self) -> None:
        """Go on with new work once all that an earlier run began is there again."""
        if self._is_replaying and self._has_topics and all(state.is_idle for state in self.topics):
            self._is_replaying = False
            for state in self.topics:
                self._refill(state)

    def _reassign(self, n_chats: int) -> None:
        """Want the chats that one topic can't give from the others."""
        takers = [state for state in self.topics if state.is_open or state.waiting]
        if self.style.is_even or not takers:
            self._n_unassigned += n_chats
            return
        if n_chats:
            takers.sort(key=lambda state: state.n_lists / state.max_lists)
            for state, more in zip(takers, shares(n_chats, len(takers)), strict=True):
                state.target += more
            for state in takers:
                self._refill(state)

    # Questions -----------------------------------------------------------------------------------------------------

    async def _list_questions(self, state: TopicState) -> None:
        n = self._writing.questions_per_batch
        prompt = self.style.questions_prompt(state.topic, state.shown, n)
        reply = await self._ask_author(
            "questions", prompt, lambda text: self.style.read_questions(text, state.topic), state.n_lists, n_wanted=n
        )
        fresh: list[PendingQuestion] = []
        if reply.value is None:
            self._reject_list(f"a list of questions: {state.topic.name}", reply.outcome)
        else:
            fresh = await self._new_questions(state, reply.value)
        state.end_list(fresh)
        self._refill(state)

    async def _new_questions(self, state: TopicState, questions: Sequence[Question]) -> list[PendingQuestion]:
        """Return the questions that pass the checks and repeat none before them; reject the others."""
        self.n_questions += len(questions)
        scope, novelty = self._scope(state)
        usable = []
        for question in questions:
            key = fingerprint([self._config.style, self._prefix_sha256, state.topic.name, question.text])[:16]
            if question.fault is not None:
                self._reject(PendingQuestion(key, question), "question filter", question.fault, state)
            else:
                usable.append(PendingQuestion(key, question))
        # What the next list is shown must not depend on other topics: it decides what that list's request is.
        state.shown = [*state.shown, *(pending.question.text for pending in usable)][-N_SHOWN:]
        vectors = await novelty.vectors([pending.question.text for pending in usable])
        fresh = []
        for pending, vector in zip(usable, vectors, strict=True):
            key, text = pending.id, pending.question.text
            repeated = key if key in self._seen else None
            if repeated is None and key not in novelty.keys:
                repeated = novelty.repeats(text, vector)
            if repeated is not None:
                self._reject(pending, "near duplicates", f"near duplicate: of {repeated}", state)
                continue
            if key not in novelty.keys:
                novelty.add(key, text, vector)
                self._models.store.keep(f"{scope}{key}", text)
            self._seen.add(key)
            fresh.append(pending)
        return fresh

    def _scope(self, state: TopicState) -> tuple[str, Novelty]:
        """Return where a question may repeat none: the whole pool, or where topics are even, its own topic."""
        number = state.number if self.style.is_even else -1
        if number not in self._scopes:
            name = state.topic.name if self.style.is_even else ""
            embed, store = self._models.embed, self._models.store
            limits = [self._writing.duplicate_similarity, self._writing.duplicate_cosine if embed else None]
            scope = f"{self._log}/question/{fingerprint([name, limits])}/"
            accepted = [(key.removeprefix(scope), text) for key, text in store.kept(scope)]
            self._scopes[number] = scope, Novelty(self._writing, embed, accepted)
        return self._scopes[number]

    # Answers and verdicts ------------------------------------------------------------------------------------------

    async def _answer_and_judge(self, state: TopicState, pending: PendingQuestion) -> None:
        content = await self._answer(state, pending)
        if content is not None and not await self._passes_judge(state, pending, content):
            content = None
        state.n_running -= 1
        state.n_judged += 1
        self.rate.n_judged += 1
        if content is not None:
            state.n_kept += 1
            self.rate.n_kept += 1
            order = hash_text(f"{self._config.seed}:{pending.id}")[:32]
            row = self.chats.append(self._chat(state, pending, content))
            self.chat_rows.append(BufferedRow(order, state.number, row))
        self._on_progress(self.rate.n_kept, self.n_wanted, f"{self.rate.n_judged} judged, {self.rate.n_kept} kept")
        self._refill(state)

    async def _answer(self, state: TopicState, pending: PendingQuestion) -> str | None:
        prompt = self.style.reply_prompt(state.topic, pending.question)
        reply = await self._ask_author("replies", prompt, self.style.read_reply)
        if reply.value is None:
            self._reject(pending, "author", reason_of(reply.outcome), state, reply.outcome.text)
            return None
        fault = self.style.reply_fault(state.topic, pending.question, reply.value)
        if fault is not None:
            self._reject(pending, "reply filter", fault, state, reply.value)
            return None
        return reply.value

    async def _passes_judge(self, state: TopicState, pending: PendingQuestion, content: str) -> bool:
        """Return whether every criterion is met; what the judge is not clear about is not."""
        prompt = self.style.verdict_prompt(state.topic, pending.question, content)
        request = self._request("verdicts", prompt, self._judge_model, "verdict_tokens")
        reply = await converse(
            self._models.judge, self._models.store, request, self.style.read_verdict,
            caps=self._judge_caps, n_expected=ENTRY_TOKENS["verdicts"],
        )  # fmt: skip
        self._usable_verdicts.count(request, reply)
        reason = f"held, no verdict: {reason_of(reply.outcome)}" if reply.value is None else reply.value.fault()
        if reason is not None:
            self._reject(pending, "judge", reason, state, content)
        return reason is None

    def _chat(self, state: TopicState, pending: PendingQuestion, content: str) -> Chat:
        metadata = ChatMetadata(
            id=pending.id,
            author=self._config.author,
            style=self._config.style,
            question_kind=pending.question.kind,
            clause_ids=state.topic.clause_ids,
            spec_sha256=self._spec.sha256 if self.style.uses_spec else "",
            seed=self._config.seed,
            topic=state.topic.name,
            judge=self._judge_model.model,
        )
        question = Message(role="user", content=pending.question.user_turn)
        return Chat(messages=(question, Message(role="assistant", content=content)), metadata=metadata)

    # Requests ------------------------------------------------------------------------------------------------------

    async def _ask_author(
        self, step: str, prompt: ChatPrompt, parse: Callable[[str], T], draw: int = 0, *, n_wanted: int = 1
    ) -> ParsedReply[T]:
        n_expected = n_wanted * ENTRY_TOKENS.get(step, self.style.reply_tokens)
        cap = "reply_tokens" if step == "replies" else "list_tokens"
        request = self._request(step, prompt, self._author_model, cap, draw)
        reply = await converse(
            self._models.author, self._models.store, request, parse,
            rephrase=PROMPTS.rephrase, caps=self._author_caps, n_expected=n_expected,
        )  # fmt: skip
        self.usable.count(request, reply, makes_row=step == "replies")
        return reply

    def _request(self, step: str, prompt: ChatPrompt, model: ModelConfig, cap: str, draw: int = 0) -> Request:
        """Make a request; its task is a hash of all that makes its reply another one, and of no size."""
        stage = f"chats.{self._config.style}.{step}"
        return Request(
            task=fingerprint([stage, model, self._prefix_sha256, prompt.text, prompt.form, draw]),
            stage=stage,
            prompt=prompt.text,
            prefix=self.style.prefix,
            max_tokens=getattr(self._writing, cap),
            cap_setting=f"writing.{cap}",
            form=prompt.form,
        )

    # Rejects -------------------------------------------------------------------------------------------------------

    def reject(self, reject: Reject, topic: int, order: str | None = None) -> None:
        """Put a reject into its buffer; `order` is its place among them, where it is not by its fields."""
        order = f"{reject.by}\n{reject.id}\n{reject.reason}" if order is None else order
        self.reject_rows.append(BufferedRow(order, topic, self.rejects.append(reject)))

    def _reject(
        self, pending: PendingQuestion, by: str, reason: str, state: TopicState, content: str | None = None
    ) -> None:
        """Reject a question, or with `content` its answer; counted by the reason without its particulars."""
        question = pending.question
        counts, text = self.question_faults, question.text
        if content is not None:
            counts, text = self.faults, f"{question.user_turn}\n{content}"
        counts[reason.partition(":")[0]] += 1
        self.reject(Reject(id=pending.id, by=by, reason=reason, text=text), state.number)

    def _reject_list(self, what: str, outcome: Outcome) -> None:
        self.failed_lists[outcome.kind] += 1
        key = id_of(what, outcome.text)
        self.reject(Reject(id=key, by="lists", reason=f"{what}: {reason_of(outcome)}", text=outcome.text), -1)
