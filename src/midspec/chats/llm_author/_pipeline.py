"""From topics to chats without barriers: an answer starts when its question exists, a verdict when its answer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import NamedTuple, TypeVar

from midspec.chats._config import ChatConfig, Writing
from midspec.chats.llm_author._disk_buffer import DiskBuffer
from midspec.chats.llm_author._novelty import Embed, Novelty
from midspec.chats.llm_author._prompts import N_SHOWN, prompt
from midspec.chats.llm_author._topic_state import PassRate, Ready, TopicState, most_lists, shares
from midspec.chats.llm_author.styles._style import Ask, ChatStyle, Question, Topic, reasons_against
from midspec.core.fingerprint import fingerprint, hash_text
from midspec.core.progress import ProgressCallback
from midspec.core.records import Chat, ChatMetadata, Message, Reject, Spec
from midspec.generation import Pool
from midspec.llm import Client, ModelConfig, Outcome, ParsedReply, Request, Store, converse

T = TypeVar("T")


class Placed(NamedTuple):
    """A row on a shelf: its key in the final order, the number of its topic, and its place."""

    key: str
    lot: int
    place: int


class ChatPipeline:
    """Writes the chats of one config and puts them, and what is rejected, on shelves.

    What is asked next follows from replies and from the order in which they came. So the store keeps, beside the
    replies, which of two like questions came first, which questions were answered and how many lists were asked for;
    a run that goes on where another stopped first goes through all that, and comes to the same chats.

    Args:
        spec: with its placeholders filled.
        config: of a model author.
        writing: its `writing`.
        craft: the style.
        client: the author; answers from the store first.
        judge: the judge, the same way.
        store: records what was asked.
        chats: takes the chats that the judge kept.
        rejects: takes what was not kept.
        embed: turns questions into vectors, if their meaning is to count.
        width: requests wanted in flight.
        on_progress: is told how many chats are kept, of how many, and how it goes.
    """

    def __init__(
        self,
        spec: Spec,
        config: ChatConfig,
        writing: Writing,
        craft: ChatStyle,
        client: Client,
        judge: Client,
        store: Store,
        chats: DiskBuffer[Chat],
        rejects: DiskBuffer[Reject],
        embed: Embed | None,
        width: int,
        on_progress: ProgressCallback,
    ) -> None:
        self._spec, self._config, self._writing, self._craft = spec, config, writing, craft
        self._client, self._judge, self._store = client, judge, store
        self._chats, self._rejects = chats, rejects
        self._embed, self._tell = embed, on_progress
        self._pool = Pool(width)
        self._prefix_sha256 = hash_text(craft.prefix)
        self._scopes: dict[int, tuple[str, Novelty]] = {}
        pattern = craft.ask_questions(Topic("", ""), (), 0).prompt
        self._mark = f"chats/{fingerprint([config.style, config.author_model, self._prefix_sha256, pattern])}"
        self._started = {key.rpartition("/")[2] for key, _ in store.kept(f"{self._mark}/answer/")}
        self._listed = Counter(key.split("/")[3] for key, _ in store.kept(f"{self._mark}/list/"))
        self._is_replaying = bool(self._started)
        self._has_topics = False
        self._seen: set[str] = set()
        self._n_owed = 0
        self.n_wanted = config.n_wanted or 0
        self.lots: list[TopicState] = []
        self.rate = PassRate()
        self.placed_chats: list[Placed] = []
        self.placed_rejects: list[Placed] = []
        self.n_asked = 0
        self.n_questions = 0
        self.question_faults: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.failed_lists: Counter[str] = Counter()

    async def run(self) -> None:
        """Write until every topic has its share, or can give no more.

        Raises:
            MidspecError: what ends the run, as a budget that is used up.
        """
        if self._craft.given:
            self._open(self._craft.given, tuple(shares(self.n_wanted, len(self._craft.given))))
            self._end_topics()
        else:
            self._pool.add(self._find_topics, first=True)
        await self._pool.run()

    # Topics --------------------------------------------------------------------------------------------------------

    async def _find_topics(self) -> None:
        if self._craft.is_even:
            said = await self._list_topics((), 0, 0)
            self._open(said, tuple(shares(self.n_wanted, max(1, len(said)))))
            self._end_topics()
            return
        n_topics = self._writing.n_domains or ceil(self.n_wanted / self._writing.questions_per_domain)
        wanted = tuple(shares(self.n_wanted, min(n_topics, self.n_wanted)))
        names: list[str] = []
        n_barren = draw = 0
        while len(self.lots) < len(wanted) and n_barren < 2:
            # Always whole lists, so that a larger pool, or the pool after a preview, uses the same ones.
            found = await self._list_topics(names, self._writing.domains_per_batch, draw)
            known = {name.casefold() for name in names}
            fresh = {topic.name.casefold(): topic for topic in reversed(found) if topic.name.casefold() not in known}
            topics = tuple(reversed(fresh.values()))
            names += [topic.name for topic in topics]
            n_barren, draw = (0 if topics else n_barren + 1), draw + 1
            at = len(self.lots)
            self._open(topics[: len(wanted) - at], wanted[at:])
        self._spread(sum(wanted[len(self.lots) :]))
        self._end_topics()

    async def _list_topics(self, shown: Sequence[str], n_wanted: int, draw: int) -> tuple[Topic, ...]:
        ask = self._craft.ask_topics(shown, n_wanted)
        said = await self._ask_author(self._author_request("topics", ask, draw), self._craft.read_topics)
        if said.value is None:
            self._reject_list("a list of topics", said.outcome)
            return ()
        for reject in said.value.rejects:
            self._put_reject(reject, -1)
        return said.value.topics

    def _open(self, topics: Sequence[Topic], targets: Sequence[int]) -> None:
        opened: list[TopicState] = []
        for topic, target in zip(topics, targets, strict=False):
            n_most = most_lists(target, self._writing.questions_per_batch, self._writing.n_rounds)
            opened.append(TopicState(len(self.lots) + len(opened), topic, target, target, n_most))
        self.lots += opened
        for lot in opened:
            self._refill(lot)
        owed, self._n_owed = self._n_owed, 0
        self._spread(owed)

    def _end_topics(self) -> None:
        self._has_topics = True
        self._end_replay()

    def _refill(self, lot: TopicState) -> None:
        if self._is_replaying:
            steps = lot.replay_steps(self._started, self._listed[_name_key(lot.topic)])
        elif self.rate.n_kept >= self.n_wanted and not self._craft.is_even:
            return
        else:
            steps = lot.next_steps(self.rate)
        for ready in steps.start:
            self.n_asked += 1
            self._store.keep(f"{self._mark}/answer/{ready.id}", "")
            self._pool.add(partial(self._answer_and_judge, lot, ready))
        if steps.wants_list:
            self._store.keep(f"{self._mark}/list/{_name_key(lot.topic)}/{lot.n_lists}", lot.topic.name)
            self._pool.add(partial(self._list_questions, lot), first=True)
        self._spread(steps.n_given_up)
        self._end_replay()

    def _end_replay(self) -> None:
        """Go on with new work once all that an earlier run began is there again."""
        if self._is_replaying and self._has_topics and all(lot.is_idle for lot in self.lots):
            self._is_replaying = False
            for lot in self.lots:
                self._refill(lot)

    def _spread(self, n_chats: int) -> None:
        """Chats that one topic can't give are wanted from the others."""
        takers = [lot for lot in self.lots if lot.is_open or lot.waiting]
        if self._craft.is_even or not takers:
            self._n_owed += n_chats
            return
        if n_chats:
            takers.sort(key=lambda lot: lot.n_lists / lot.n_most_lists)
            for lot, more in zip(takers, shares(n_chats, len(takers)), strict=True):
                lot.target += more
            for lot in takers:
                self._refill(lot)

    # Questions -----------------------------------------------------------------------------------------------------

    async def _list_questions(self, lot: TopicState) -> None:
        ask = self._craft.ask_questions(lot.topic, lot.shown, self._writing.questions_per_batch)
        request = self._author_request("questions", ask, lot.n_lists)
        said = await self._ask_author(request, lambda text: self._craft.read_questions(text, lot.topic))
        fresh: list[Ready] = []
        if said.value is None:
            self._reject_list(f"a list of questions: {lot.topic.name}", said.outcome)
        else:
            fresh = await self._sift(lot, said.value)
        lot.end_list(fresh)
        self._refill(lot)

    async def _sift(self, lot: TopicState, questions: Sequence[Question]) -> list[Ready]:
        """The questions that can be asked and repeat none before them."""
        self.n_questions += len(questions)
        scope, novelty = self._scope(lot)
        usable = []
        for question in questions:
            name = fingerprint([self._config.style, self._prefix_sha256, lot.topic.name, question.text])[:16]
            if question.fault is not None:
                self._reject_question(name, "question filter", question.fault, question, lot)
            else:
                usable.append(Ready(name, question))
        # What the next list is shown must not depend on other topics: it decides what that list's request is.
        lot.shown = [*lot.shown, *(ready.question.text for ready in usable)][-N_SHOWN:]
        vectors = await novelty.vectors([ready.question.text for ready in usable])
        fresh = []
        for ready, vector in zip(usable, vectors, strict=True):
            twin = ready.id if ready.id in self._seen else None
            if twin is None and ready.id not in novelty.keys:
                twin = novelty.repeats(ready.question.text, vector)
            if twin is not None:
                self._reject_question(ready.id, "near duplicates", f"near duplicate: of {twin}", ready.question, lot)
                continue
            if ready.id not in novelty.keys:
                novelty.add(ready.id, ready.question.text, vector)
                self._store.keep(f"{scope}{ready.id}", ready.question.text)
            self._seen.add(ready.id)
            fresh.append(ready)
        return fresh

    def _scope(self, lot: TopicState) -> tuple[str, Novelty]:
        """Within what a question may repeat none: the whole pool, or where topics are even, its own preference."""
        number = lot.number if self._craft.is_even else -1
        if number not in self._scopes:
            name = lot.topic.name if self._craft.is_even else ""
            limits = [self._writing.duplicate_similarity, self._writing.duplicate_cosine if self._embed else None]
            scope = f"{self._mark}/question/{fingerprint([name, limits])}/"
            kept = [(key.removeprefix(scope), text) for key, text in self._store.kept(scope)]
            self._scopes[number] = scope, Novelty(self._writing, self._embed, kept)
        return self._scopes[number]

    # Answers and verdicts ------------------------------------------------------------------------------------------

    async def _answer_and_judge(self, lot: TopicState, ready: Ready) -> None:
        request = self._author_request("replies", self._craft.ask_reply(lot.topic, ready.question))
        content = await self._answer(lot, ready, request)
        is_kept = content is not None and await self._passes(lot, ready, content)
        lot.n_running -= 1
        lot.n_judged += 1
        self.rate.n_judged += 1
        if is_kept and content is not None:
            lot.n_kept += 1
            self.rate.n_kept += 1
            chat = self._chat(lot, ready, content)
            key = hash_text(f"{self._config.seed}:{ready.id}")[:32]
            self.placed_chats.append(Placed(key, lot.number, self._chats.put(chat)))
        self._tell(self.rate.n_kept, self.n_wanted, f"{self.rate.n_judged} judged, {self.rate.n_kept} kept")
        self._refill(lot)

    async def _answer(self, lot: TopicState, ready: Ready, request: Request) -> str | None:
        said = await self._ask_author(request, self._craft.read_reply)
        if said.value is None:
            self._reject(ready, "author", _reason(said.outcome), said.outcome.text, lot)
            return None
        fault = self._craft.fault(lot.topic, ready.question, said.value)
        if fault is not None:
            self._reject(ready, "reply filter", fault, said.value, lot)
            return None
        return said.value

    async def _passes(self, lot: TopicState, ready: Ready, content: str) -> bool:
        """Whether the judge says of every criterion that it is met; anything less clear is no yes."""
        ask = self._craft.ask_verdict(lot.topic, ready.question, content)
        if (model := self._config.judge) is None:
            raise AssertionError("the config of a model author has a judge")
        request = self._request("verdicts", ask, model, self._writing.verdict_tokens, 0)
        said = await converse(self._judge, self._store, request, self._craft.read_verdict)
        if said.value is None:
            reason: str | None = f"held, no verdict: {_reason(said.outcome)}"
        else:
            reason = reasons_against(said.value)
        if reason is not None:
            self._reject(ready, "judge", reason, content, lot)
        return reason is None

    def _chat(self, lot: TopicState, ready: Ready, content: str) -> Chat:
        metadata = ChatMetadata(
            id=ready.id,
            author=self._config.author,
            style=self._config.style,
            question_kind=ready.question.kind,
            clause_ids=lot.topic.clause_ids,
            spec_sha256="" if self._config.style == "identity" else self._spec.sha256,
            seed=self._config.seed,
            topic=lot.topic.name,
            judge=self._config.judge.model if self._config.judge else "",
        )
        question = Message(role="user", content=ready.question.asked)
        return Chat(messages=(question, Message(role="assistant", content=content)), metadata=metadata)

    # Requests ------------------------------------------------------------------------------------------------------

    async def _ask_author(self, request: Request, read: Callable[[str], T]) -> ParsedReply[T]:
        return await converse(self._client, self._store, request, read, rephrase=_rephrased)

    def _author_request(self, step: str, ask: Ask, draw: int = 0) -> Request:
        if (model := self._config.author_model) is None:
            raise AssertionError("the config has a model author")
        n_tokens = self._writing.reply_tokens if step == "replies" else self._writing.list_tokens
        return self._request(step, ask, model, n_tokens, draw)

    def _request(self, step: str, ask: Ask, model: ModelConfig, max_tokens: int, draw: int) -> Request:
        """The task is a hash of all that makes its reply another one, and of no size."""
        stage = f"chats.{self._config.style}.{step}"
        return Request(
            task=fingerprint([stage, model, self._prefix_sha256, ask.prompt, ask.form, draw]),
            stage=stage,
            prompt=ask.prompt,
            prefix=self._craft.prefix,
            max_tokens=max_tokens,
            form=ask.form,
        )

    # Rejects -------------------------------------------------------------------------------------------------------

    def _put_reject(self, reject: Reject, lot: int) -> None:
        key = f"{reject.by}\n{reject.id}\n{reject.reason}"
        self.placed_rejects.append(Placed(key, lot, self._rejects.put(reject)))

    def _reject(self, ready: Ready, by: str, reason: str, content: str, lot: TopicState) -> None:
        self.faults[_head(reason)] += 1
        text = f"{ready.question.asked}\n{content}"
        self._put_reject(Reject(id=ready.id, by=by, reason=reason, text=text), lot.number)

    def _reject_question(self, name: str, by: str, reason: str, question: Question, lot: TopicState) -> None:
        self.question_faults[_head(reason)] += 1
        self._put_reject(Reject(id=name, by=by, reason=reason, text=question.text), lot.number)

    def _reject_list(self, what: str, outcome: Outcome) -> None:
        self.failed_lists[outcome.kind] += 1
        name = hash_text(f"{what}\n{outcome.text}")[:16]
        self._put_reject(Reject(id=name, by="lists", reason=f"{what}: {_reason(outcome)}", text=outcome.text), -1)


def _head(reason: str) -> str:
    """What rejects are counted under: the reason without its particulars."""
    return reason.partition(":")[0]


def _name_key(topic: Topic) -> str:
    return hash_text(topic.name)[:16]


def _reason(outcome: Outcome) -> str:
    note = " ".join((outcome.note or outcome.stop_reason).split())
    return f"{outcome.kind.replace('_', ' ')}: {note}" if note else outcome.kind.replace("_", " ")


def _rephrased(request: Request) -> Request:
    return request.model_copy(update={"prompt": prompt("rephrase", prompt=request.prompt)})
