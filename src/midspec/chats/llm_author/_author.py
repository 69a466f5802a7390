"""Chats by a language model: from a spec to the files of a pool, its subsamples and what was rejected."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from math import ceil
from pathlib import Path

from pydantic import JsonValue

from midspec.chats._chats import CHAT_STYLES, QUESTION_TOKENS, ChatConfig, Chats, nested_name, pool_names
from midspec.chats.llm_author._novelty import Embed
from midspec.chats.llm_author._pipeline import BufferedRow, ChatModels, ChatPipeline
from midspec.chats.llm_author._topic_state import ENTRY_TOKENS
from midspec.chats.llm_author.styles import N_SHOWN, Question, Topic
from midspec.core.artifact import Built, ProgressCallback, read_rows, writable, write_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Chat, Message, Reject, Spec
from midspec.core.text import TOKENS_PER_WORD, n_words
from midspec.generation import estimate_stage
from midspec.llm import Client, StageEstimate, Store, model_name_forms

_N_SHOWN_REASONS = 3


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
    on_progress: ProgressCallback = lambda _n_kept, _n_wanted, _note: None,
) -> Built:
    """Have a language model write chats and another one judge them, and save them (arXiv 2605.02087, section 3).

    The paper's steps without barriers. Each question that was answered is kept or rejected with a reason; what the
    judge is not clear about is not kept. Questions are written until as many chats as asked for are kept, or every
    topic has had its `n_rounds`; the summary's `exhausted` says so then.

    Files: twins `chats_cot.jsonl` and `chats_cot_stripped.jsonl` with equal ids in equal order (a style without
    reasoning: `chats.jsonl`), each also cut to every one of `nested_sizes`, and `rejects.jsonl`.

    Args:
        spec: with its placeholders filled; identity style reads nothing of it.
        config: its `author` is a model's name, and `judge` the judge's.
        client: the author; answers from the store first.
        judge: the judge, the same way.
        store: keeps every reply, and every question accepted.
        folder: takes the files; must be there.
        embed: vectors of questions, for near duplicates by meaning; without it only their words count.
        width: requests wanted in flight at once. No part of the result.
        on_progress: is told how many chats are kept, of how many, and how it goes.

    Raises:
        ConfigError: the config's author is no model, or its templates lack what the style needs.
        DataError: not one chat was kept; says what became of the questions.
        FolderError: the folder can't be written.
        MidspecError: what ends any run, as a budget that is used up; the same call then goes on where it stopped.
    """
    models = ChatModels(client, judge, store, embed, width)
    with writable(folder), ChatPipeline(spec, config, models, folder, on_progress) as pipeline:
        await pipeline.run()
        pipeline.usable.check_end()
        kept, surplus = _select_pool(pipeline)
        if not kept:
            why = f"; {pipeline.usable.words()}" if pipeline.usable.reasons else ""
            what = f"no chat was kept ({_describe_outcome(pipeline)}{why})"
            hint = "Look at the replies in the calls' store, or take another author or judge"
            raise DataError(what, where=f"{config.style} chats by {config.author}", hint=hint)
        for row in surplus:
            chat = pipeline.chats.get(row.row)
            name = chat.metadata.id if chat.metadata else ""
            reason = "not needed: the pool was full or even without it"
            reject = Reject(id=name, by="pool", reason=reason, text=chat.text)
            pipeline.faults["not needed"] += 1
            pipeline.reject(reject, row.topic, f"{reject.by}\n{name}")
        return _save(pipeline, config, folder, kept)


async def preview_chats(
    spec: Spec, config: ChatConfig, client: Client, judge: Client, store: Store, n: int, *, width: int = 50
) -> Chats:
    """Write `n` chats over as many topics as possible, to look at; the whole run uses the replies that they cost.

    Arguments and errors are those of `author_chats`; `config` is the whole pool's.
    """
    few = {"n_samples": n, "nested_sizes": ()}
    if (writing := config.writing) is not None:
        n_domains = min(n, writing.domains_per_batch)
        few["writing"] = writing.model_copy(update={"n_domains": n_domains})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        built = await author_chats(spec, config.model_copy(update=few), client, judge, store, folder, width=width)
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


def _select_pool(pipeline: ChatPipeline) -> tuple[list[BufferedRow], list[BufferedRow]]:
    """Return the chats of the pool in their order, and those that passed and are not needed."""
    ordered, n_wanted = sorted(pipeline.chat_rows), pipeline.n_wanted
    if not pipeline.style.is_even:
        return ordered[:n_wanted], ordered[n_wanted:]
    by_topic: list[list[BufferedRow]] = [[] for _ in pipeline.topics]
    for row in ordered:
        by_topic[row.topic].append(row)
    # A topic that came short sets the measure for all; one that gave nothing is left out, and the summary says so.
    shares = [state.share for state in pipeline.topics]
    short = [len(rows) for rows, share in zip(by_topic, shares, strict=True) if 0 < len(rows) < share]
    level = min(short, default=n_wanted)
    quotas = [min(level, share) for share in shares]
    # In rounds of one chat a topic, so that the first N are as even as N allows.
    kept = sorted(
        ((at, row) for rows, quota in zip(by_topic, quotas, strict=True) for at, row in enumerate(rows[:quota])),
        key=lambda turn: (turn[0], turn[1].order),
    )
    surplus = [row for rows, quota in zip(by_topic, quotas, strict=True) for row in rows[quota:]]
    return [row for _, row in kept], surplus


# Files ---------------------------------------------------------------------------------------------------------
def _save(pipeline: ChatPipeline, config: ChatConfig, folder: Path, kept: Sequence[BufferedRow]) -> Built:
    style, rejects = pipeline.style, pipeline.rejects

    def rows(*, strip: bool) -> Iterator[Chat]:
        for row in kept:
            chat = pipeline.chats.get(row.row)
            if strip:
                question, answer = chat.messages
                text = style.strip_reasoning(answer.content)
                chat = chat.model_copy(update={"messages": (question, Message(role=answer.role, content=text))})
            yield chat

    sizes = [size for size in config.nested_sizes if size <= len(kept)]
    files = []
    for at, name in enumerate(pool_names(has_twins=style.has_twins)):
        for size in (None, *sizes):
            files.append(name if size is None else nested_name(name, size))
            write_rows(folder / files[-1], islice(rows(strip=at > 0), size))
    write_rows(folder / "rejects.jsonl", (rejects.get(row.row) for row in sorted(pipeline.reject_rows)))
    summary = {**_summary(pipeline, config, kept), "nested_sizes": list(sizes)}
    return Built(outputs=(*files, "rejects.jsonl"), summary=summary)


def _summary(pipeline: ChatPipeline, config: ChatConfig, kept: Sequence[BufferedRow]) -> dict[str, JsonValue]:
    style, topics = pipeline.style, pipeline.topics
    kinds: Counter[str] = Counter()
    counts = {"n_words_cot": 0, "n_words_stripped": 0} if style.has_twins else {"n_words": 0}
    for row in kept:
        chat = pipeline.chats.get(row.row)
        kinds[chat.metadata.question_kind if chat.metadata else ""] += 1
        content = chat.messages[-1].content
        for key in counts:
            text = style.strip_reasoning(content) if key == "n_words_stripped" else content
            counts[key] += n_words(text)
    n_by_topic = Counter(row.topic for row in kept)
    per_topic = [n_by_topic[state.number] for state in topics]
    return {
        "style": config.style,
        "author": config.author,
        "judge": config.judge.model if config.judge else "",
        "n_chats": len(kept),
        "n_wanted": pipeline.n_wanted,
        "exhausted": _exhausted(pipeline, config, len(kept)),
        "n_rejects": len(pipeline.reject_rows),
        "n_topics": len(topics),
        "least_per_topic": min(per_topic),
        "most_per_topic": max(per_topic),
        "n_questions": pipeline.n_questions,
        "questions_rejected": dict(sorted(pipeline.question_faults.items())),
        "n_questions_spare": sum(len(state.waiting) for state in topics),
        "lists_failed": dict(sorted(pipeline.failed_lists.items())),
        "n_asked": pipeline.n_asked,
        "rejected": dict(sorted(pipeline.faults.items())),
        "pass_rate": round(pipeline.rate.n_kept / max(1, pipeline.rate.n_judged), 4),
        "question_kinds": dict(sorted(kinds.items())),
        **counts,
        **style.summary([state.topic for state in topics]),
    }


def _exhausted(pipeline: ChatPipeline, config: ChatConfig, n_kept: int) -> str | None:
    """Say how many chats are missing and why, or `None` where none is."""
    if n_kept >= pipeline.n_wanted:
        return None
    parts = [f"{n_kept} chats were kept, not the {pipeline.n_wanted} asked for ({_describe_outcome(pipeline)})"]
    if pipeline.style.is_even:
        barren = [state.topic.name for state in pipeline.topics if not state.n_kept and state.share]
        parts += [f"without a single chat: {', '.join(barren)}"] if barren else []
    missing = [str(size) for size in config.nested_sizes if size > n_kept]
    parts += [f"too few for the subsamples of {', '.join(missing)}"] if missing else []
    return "; ".join(parts)


def _describe_outcome(pipeline: ChatPipeline) -> str:
    """Say in one line what became of the questions."""
    n_failed = sum(pipeline.failed_lists.values())
    text = f"{len(pipeline.topics)} topics, {pipeline.n_questions} questions, {pipeline.n_asked} answered"
    text += f", {n_failed} lists without use" if n_failed else ""
    most = (pipeline.faults + pipeline.question_faults).most_common(_N_SHOWN_REASONS)
    return f"{text}; most often {', '.join(f'{reason} ({n})' for reason, n in most)}" if most else text


# What is taken to pass the judge, and to be a new question, when nothing is known of either yet.
_PASS_RATE, _NEW_RATE = 0.8, 0.9
_N_PREFERENCES = 12


def estimate_chats(spec: Spec, config: ChatConfig) -> list[StageEstimate]:
    """Estimate each stage for a forecast. Stages that end in `.verdicts` go to the judge, the rest to the author.

    Lengths are those of the published runs; 80% of the answers are kept and 90% of the questions are new.

    Args:
        spec: with its placeholders filled.
        config: of a model author.

    Raises:
        ConfigError: the author is no model, or the templates lack what the style needs.
    """
    if (writing := config.writing) is None:
        hint = f"Give {model_name_forms()}"
        raise ConfigError("is no language model", where=f"author: {config.author}", hint=hint)
    style, n_wanted = CHAT_STYLES.get(config.style)(spec, config), config.n_wanted or 0
    n_batch = writing.questions_per_batch
    if style.is_even:
        n_topics = len(style.topics) or _N_PREFERENCES
        n_topic_lists, n_listed = 1, _N_PREFERENCES
    else:
        n_topics = min(n_wanted, writing.n_domains or ceil(n_wanted / writing.questions_per_domain))
        n_topic_lists, n_listed = ceil(n_topics / writing.domains_per_batch), writing.domains_per_batch
    n_asked = ceil(n_wanted / _PASS_RATE)
    n_lists = n_topics * ceil(n_asked / n_topics / _NEW_RATE / n_batch)
    topic, question = Topic(_filler(8), _filler(40)), Question("direct", _filler(QUESTION_TOKENS))
    shown = (question.text,) * min(N_SHOWN, ceil(n_lists / n_topics * n_batch / 2))
    verdict = style.verdict_prompt(topic, question, _filler(style.reply_tokens))
    rows = [
        ("questions", n_lists, style.questions_prompt(topic, shown, n_batch), n_batch * ENTRY_TOKENS["questions"]),
        ("replies", n_asked, style.reply_prompt(topic, question), style.reply_tokens),
        ("verdicts", n_asked, verdict, ENTRY_TOKENS["verdicts"]),
    ]
    if not style.topics:
        rows.insert(0, ("topics", n_topic_lists, style.topics_prompt((), n_listed), n_listed * ENTRY_TOKENS["topics"]))
    return [
        estimate_stage(f"chats.{config.style}.{step}", n, n_output, prefix=style.prefix, prompt=prompt.text)
        for step, n, prompt, n_output in rows
    ]


def _filler(n_tokens: int) -> str:
    """Return a text of about that many tokens."""
    return " ".join(["word"] * round(n_tokens / TOKENS_PER_WORD))
