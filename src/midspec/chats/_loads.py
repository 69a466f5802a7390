"""How many requests and tokens a pool of chats takes, before anything is sent."""

from __future__ import annotations

from math import ceil

from midspec.chats._author import craft_of
from midspec.chats._config import ChatConfig, Writing
from midspec.chats._craft import Craft, Question, Topic
from midspec.chats._prompts import N_SHOWN
from midspec.errors import ConfigError
from midspec.llm import StageLoad
from midspec.records import Spec

__all__ = ["chat_loads"]

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


def chat_loads(spec: Spec, config: ChatConfig) -> list[StageLoad]:
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
            "is no language model", where=f"author: {config.author}", mend="Give anthropic/... or openai/..."
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
        StageLoad(
            stage=f"chats.{config.style}.{step}",
            n_requests=n_requests,
            prefix_tokens=_tokens(craft.prefix),
            prompt_tokens=_tokens(text),
            output_tokens=n_output,
        )
        for step, n_requests, text, n_output in rows
    ]


def _n_topics(craft: Craft, writing: Writing, n_wanted: int) -> int:
    if craft.is_even:
        return len(craft.given) or _N_PREFERENCES
    return min(n_wanted, writing.n_domains or ceil(n_wanted / writing.questions_per_domain))


def _topic_lists(craft: Craft, writing: Writing, n_topics: int) -> tuple[int, int]:
    """How many lists of topics, and how many entries each."""
    if craft.is_even:
        return 1, _N_PREFERENCES
    return ceil(n_topics / writing.domains_per_batch), writing.domains_per_batch


def _tokens(text: str) -> int:
    return ceil(len(text.encode()) / _LETTERS_A_TOKEN)
