"""Chats by a language model: from a spec to the files of a pool, its subsamples and what was rejected."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from math import ceil
from pathlib import Path

from pydantic import JsonValue

from midspec.chats._chats import nested_name
from midspec.chats._config import ChatConfig, Chats, Writing
from midspec.chats.llm_author._disk_buffer import DiskBuffer
from midspec.chats.llm_author._novelty import Embed
from midspec.chats.llm_author._pipeline import ChatPipeline, Placed
from midspec.chats.llm_author._prompts import N_SHOWN
from midspec.chats.llm_author.styles._identity import selves
from midspec.chats.llm_author.styles._preference import tastes
from midspec.chats.llm_author.styles._spec import talk
from midspec.chats.llm_author.styles._style import ChatStyle, Question, Topic
from midspec.chats.template_author._templates import load_templates
from midspec.core.artifact import Built, read_rows, writable, write_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.progress import ProgressCallback
from midspec.core.records import Chat, Message, Reject, Spec
from midspec.llm import Client, StageEstimate, Store

_N_SHOWN_REASONS = 3


def _say_nothing(n_kept: int, n_wanted: int, note: str) -> None:
    """Progress that nobody wants to see."""


async def author_chats(
    spec: Spec,
    config: ChatConfig,
    client: Client,
    judge: Client,
    store: Store,
    folder: Path,
    *,
    embed: Embed | None = None,
    width: int = 50,
    on_progress: ProgressCallback = _say_nothing,
) -> Built:
    """Have a language model write chats, another (or the same, if the config says so) judge them, and save them.

    METHOD 3's steps without barriers. Each question that was answered is kept or rejected with a reason; what the
    judge is not clear about is held, which is not kept. Questions are written until as many chats as asked for are
    kept, or every topic has had its `n_rounds`; the summary's `exhausted` says so then.

    Files: twins `chats_cot.jsonl` and `chats_cot_stripped.jsonl` with equal ids in equal order (opaque and identity
    style: `chats.jsonl`), each also cut to every one of `nested_sizes`, and `rejects.jsonl`.

    Args:
        spec: with its placeholders filled; identity style reads nothing of it.
        config: its `author` is a model's name, and `judge` the judge's.
        client: the author; answers from the store first.
        judge: the judge, the same way.
        store: where every reply, and every question accepted, is on record.
        folder: takes the files; must be there.
        embed: vectors of questions, for near duplicates by meaning; without it only their words count.
        width: requests wanted in flight at once. No part of the result.
        on_progress: is told how many chats are kept, of how many, and how it goes.

    Raises:
        ConfigError: the config's author is no model, or its frames lack what the style needs.
        DataError: not one chat was kept; says what became of the questions.
        FolderError: the folder can't be written.
        MidspecError: what ends any run, as a budget that is used up; the same call then goes on where it stopped.
    """
    if (writing := config.writing) is None:
        raise ConfigError(
            "is no language model", where=f"author: {config.author}", hint="Give anthropic/... or openai/..."
        )
    craft = craft_of(spec, config)
    with writable(folder), DiskBuffer(folder, Chat) as chats, DiskBuffer(folder, Reject) as rejects:
        line = ChatPipeline(
            spec, config, writing, craft, client, judge, store, chats, rejects, embed, width, on_progress
        )
        await line.run()
        kept, surplus = _pool(line, craft)
        if not kept:
            what = f"no chat was kept ({_fate(line)})"
            hint = "Look at the replies in the calls' store, or take another author or judge"
            raise DataError(what, where=f"{config.style} chats by {config.author}", hint=hint)
        for placed in surplus:
            _reject_surplus(line, chats.get(placed.place), rejects, placed)
        return _save(line, craft, config, folder, chats, rejects, kept)


def craft_of(spec: Spec, config: ChatConfig) -> ChatStyle:
    """The prompts and checks of the config's style.

    Raises:
        ConfigError: the frames lack the part whose words this style is filtered by.
    """
    if config.style == "identity":
        return selves(config)
    frames = load_templates(config.frames)
    if config.style == "opaque" and frames.opaque is not None:
        return tastes(spec, config, frames.opaque)
    if config.style != "opaque" and frames.spec is not None:
        return talk(spec, config, frames.spec)
    raise ConfigError(
        f"has no part whose words {config.style} chats are filtered by", where=config.frames, hint="Choose other frames"
    )


async def preview_chats(
    spec: Spec, config: ChatConfig, client: Client, judge: Client, store: Store, n: int, *, width: int = 50
) -> Chats:
    """`n` chats over as many topics as the whole pool would let, to look at; the whole run uses what they cost.

    Raises:
        As `author_chats`.
    """
    if (writing := config.writing) is None:
        raise ConfigError(
            "is no language model", where=f"author: {config.author}", hint="Give anthropic/... or openai/..."
        )
    few = config.model_copy(
        update={
            "n_samples": n,
            "nested_sizes": (),
            "writing": writing.model_copy(update={"n_domains": min(n, writing.domains_per_batch)}),
        }
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        built = await author_chats(spec, few, client, judge, store, folder, width=width)
        chats, *stripped = (tuple(read_rows(folder / name, Chat)) for name in built.outputs if name != "rejects.jsonl")
        exhausted = built.summary["exhausted"]
        return Chats(
            style=config.style,
            chats=chats,
            stripped=stripped[0] if stripped else (),
            rejects=tuple(read_rows(folder / "rejects.jsonl", Reject)),
            exhausted=exhausted if isinstance(exhausted, str) else None,
            summary=built.summary,
        )


# Which chats make the pool -------------------------------------------------------------------------------------
def _pool(line: ChatPipeline, craft: ChatStyle) -> tuple[list[Placed], list[Placed]]:
    """The chats of the pool in their order, and those that passed and are not needed."""
    placed = sorted(line.placed_chats)
    if not craft.is_even:
        return placed[: line.n_wanted], placed[line.n_wanted :]
    by_lot: list[list[Placed]] = [[] for _ in line.lots]
    for row in placed:
        by_lot[row.lot].append(row)
    # A topic that came short sets the measure for all; one that gave nothing is left out, and the summary says so.
    short = [len(rows) for rows, lot in zip(by_lot, line.lots, strict=True) if 0 < len(rows) < lot.share]
    level = min(short, default=line.n_wanted)
    quotas = [min(level, lot.share) for lot in line.lots]
    # In rounds of one chat a topic, so that the first N are as even as N allows.
    kept = sorted(
        ((at, row) for rows, quota in zip(by_lot, quotas, strict=True) for at, row in enumerate(rows[:quota])),
        key=lambda turn: (turn[0], turn[1].key),
    )
    surplus = [row for rows, quota in zip(by_lot, quotas, strict=True) for row in rows[quota:]]
    return [row for _, row in kept], surplus


def _reject_surplus(line: ChatPipeline, chat: Chat, rejects: DiskBuffer[Reject], placed: Placed) -> None:
    name = chat.metadata.id if chat.metadata else ""
    text = "\n".join(message.content for message in chat.messages)
    reject = Reject(id=name, by="pool", reason="not needed: the pool was full or even without it", text=text)
    line.faults["not needed"] += 1
    line.placed_rejects.append(Placed(f"{reject.by}\n{name}", placed.lot, rejects.put(reject)))


# Files ---------------------------------------------------------------------------------------------------------
def _save(
    line: ChatPipeline,
    craft: ChatStyle,
    config: ChatConfig,
    folder: Path,
    chats: DiskBuffer[Chat],
    rejects: DiskBuffer[Reject],
    kept: Sequence[Placed],
) -> Built:
    has_twins = config.style in ("value", "rule")
    names = ("chats_cot.jsonl", "chats_cot_stripped.jsonl") if has_twins else ("chats.jsonl",)
    sizes = [size for size in config.nested_sizes if size <= len(kept)]
    files = []
    for at, name in enumerate(names):
        for size in (len(kept), *sizes):
            file = name if size == len(kept) and name not in files else nested_name(name, size)
            write_rows(folder / file, islice(_rows(chats, kept, craft if at else None), size))
            files.append(file)
    write_rows(folder / "rejects.jsonl", (rejects.get(row.place) for row in sorted(line.placed_rejects)))
    summary = _summary(line, config, chats, kept, craft)
    summary["nested_sizes"] = list(sizes)
    return Built(outputs=(*files, "rejects.jsonl"), summary=summary)


def _rows(chats: DiskBuffer[Chat], kept: Sequence[Placed], craft: ChatStyle | None) -> Iterator[Chat]:
    """The pool's rows; with a craft, their twins without reasoning."""
    for placed in kept:
        chat = chats.get(placed.place)
        yield chat if craft is None else _stripped(chat, craft)


def _stripped(chat: Chat, craft: ChatStyle) -> Chat:
    question, answer = chat.messages
    said = craft.stripped(answer.content)
    return chat.model_copy(update={"messages": (question, Message(role=answer.role, content=said or ""))})


# What to say of it ---------------------------------------------------------------------------------------------
def _summary(
    line: ChatPipeline, config: ChatConfig, chats: DiskBuffer[Chat], kept: Sequence[Placed], craft: ChatStyle
) -> dict[str, JsonValue]:
    kinds: Counter[str] = Counter()
    n_words = {"answers": 0, "stripped": 0}
    for chat in _rows(chats, kept, None):
        kinds[chat.metadata.question_kind if chat.metadata else ""] += 1
        content = chat.messages[-1].content
        n_words["answers"] += len(content.split())
        n_words["stripped"] += len((craft.stripped(content) or "").split())
    of_topic = Counter(row.lot for row in kept)
    per_topic = [of_topic[lot.number] for lot in line.lots]
    summary: dict[str, JsonValue] = {
        "style": config.style,
        "author": config.author,
        "judge": config.judge.model if config.judge else "",
        "n_chats": len(kept),
        "n_wanted": line.n_wanted,
        "exhausted": _exhausted(line, config, len(kept), craft),
        "n_rejects": len(line.placed_rejects),
        "n_topics": len(line.lots),
        "least_per_topic": min(per_topic),
        "most_per_topic": max(per_topic),
        "n_questions": line.n_questions,
        "questions_rejected": dict(sorted(line.question_faults.items())),
        "n_questions_spare": sum(len(lot.waiting) for lot in line.lots),
        "lists_failed": dict(sorted(line.failed_lists.items())),
        "n_asked": line.n_asked,
        "rejected": dict(sorted(line.faults.items())),
        "pass_rate": round(line.rate.n_kept / max(1, line.rate.n_judged), 4),
        "question_kinds": dict(sorted(kinds.items())),
    }
    if config.style in ("value", "rule"):
        summary |= {"n_words_cot": n_words["answers"], "n_words_stripped": n_words["stripped"]}
    else:
        summary["n_words"] = n_words["answers"]
    if config.style == "opaque":
        for key, about in (("liked", "likes"), ("disliked", "dislikes")):
            summary[key] = [lot.topic.name for lot in line.lots if lot.topic.about == about]
    return summary


def _exhausted(line: ChatPipeline, config: ChatConfig, n_kept: int, craft: ChatStyle) -> str | None:
    if n_kept >= line.n_wanted:
        return None
    said = [f"{n_kept} chats were kept, not the {line.n_wanted} asked for ({_fate(line)})"]
    barren = [lot.topic.name for lot in line.lots if not lot.n_kept and lot.share] if craft.is_even else []
    said += [f"without a single chat: {', '.join(barren)}"] if barren else []
    missing = [str(size) for size in config.nested_sizes if size > n_kept]
    said += [f"too few for the subsamples of {', '.join(missing)}"] if missing else []
    return "; ".join(said)


def _fate(line: ChatPipeline) -> str:
    """What became of the questions, in one line."""
    lists = sum(line.failed_lists.values())
    said = f"{len(line.lots)} topics, {line.n_questions} questions, {line.n_asked} answered"
    said += f", {lists} lists without use" if lists else ""
    most = (line.faults + line.question_faults).most_common(_N_SHOWN_REASONS)
    return f"{said}; most often {', '.join(f'{reason} ({n})' for reason, n in most)}" if most else said


_LETTERS_A_TOKEN = 4
# Tokens of one entry of a list, JSON around it included.
_TOPIC_TOKENS, _QUESTION_TOKENS = 60, 55
# METHOD 3: 8M tokens of 10,000 chats with reasoning, 165k of 5,000 opaque ones.
_REPLY_TOKENS = {"value": 800, "rule": 800, "opaque": 30, "identity": 80}
_VERDICT_TOKENS = 120
_QUESTION_LETTERS = 220
# What is taken to pass the judge, and to be a new question, when nothing is known of either yet.
_PASSED, _NEW = 0.8, 0.9
_N_PREFERENCES = 12


def estimate_chats(spec: Spec, config: ChatConfig) -> list[StageEstimate]:
    """What each stage will ask, for a forecast. Stages that end in `.verdicts` go to the judge, the rest to the author.

    An estimate: 4 letters a token, lengths as in the published runs, 80% of the answers kept and 90% of the questions
    new.

    Args:
        spec: with its placeholders filled.
        config: of a model author.

    Raises:
        ConfigError: the author is no model, or the frames lack what the style needs.
    """
    if (writing := config.writing) is None:
        raise ConfigError(
            "is no language model", where=f"author: {config.author}", hint="Give anthropic/... or openai/..."
        )
    craft = craft_of(spec, config)
    n_wanted = config.n_wanted or 0
    n_topics = _n_topics(craft, writing, n_wanted)
    n_asked = ceil(n_wanted / _PASSED)
    n_lists = n_topics * ceil(n_asked / n_topics / _NEW / writing.questions_per_batch)
    topic = Topic("x" * 30, "x" * 160)
    shown = ("x" * _QUESTION_LETTERS,) * min(N_SHOWN, ceil(n_lists / n_topics * writing.questions_per_batch / 2))
    question = Question("direct", "x" * _QUESTION_LETTERS)
    answer = "x" * _REPLY_TOKENS[config.style] * _LETTERS_A_TOKEN
    n_batch = writing.questions_per_batch
    rows = [
        ("questions", n_lists, craft.ask_questions(topic, shown, n_batch).prompt, n_batch * _QUESTION_TOKENS),
        ("replies", n_asked, craft.ask_reply(topic, question).prompt, _REPLY_TOKENS[config.style]),
        ("verdicts", n_asked, craft.ask_verdict(topic, question, answer).prompt, _VERDICT_TOKENS),
    ]
    if not craft.given:
        n, entries = _topic_lists(craft, writing, n_topics)
        rows.insert(0, ("topics", n, craft.ask_topics((), entries).prompt, entries * _TOPIC_TOKENS))
    return [
        StageEstimate(
            stage=f"chats.{config.style}.{step}",
            n_requests=n_requests,
            prefix_tokens=_tokens(craft.prefix),
            prompt_tokens=_tokens(text),
            output_tokens=n_output,
        )
        for step, n_requests, text, n_output in rows
    ]


def _n_topics(craft: ChatStyle, writing: Writing, n_wanted: int) -> int:
    if craft.is_even:
        return len(craft.given) or _N_PREFERENCES
    return min(n_wanted, writing.n_domains or ceil(n_wanted / writing.questions_per_domain))


def _topic_lists(craft: ChatStyle, writing: Writing, n_topics: int) -> tuple[int, int]:
    """How many lists of topics, and how many entries each."""
    if craft.is_even:
        return 1, _N_PREFERENCES
    return ceil(n_topics / writing.domains_per_batch), writing.domains_per_batch


def _tokens(text: str) -> int:
    return ceil(len(text.encode()) / _LETTERS_A_TOKEN)
