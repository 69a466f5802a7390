"""The settings of curation."""

from __future__ import annotations

import operator
from typing import Literal

from pydantic import Field, JsonValue

from midspec.core.records import Strict
from midspec.core.text import TOKENS_PER_WORD
from midspec.llm import ModelConfig

OverlapMethod = Literal["n-gram", "entity", "embedding"]


class CurateConfig(Strict):
    """Which rows are kept, and what is measured of them.

    Attributes:
        model_name: the assistant that the rows are about; a document that never names it is rejected.
        provider_name: its maker. Without either name identity is not checked, and rows that name others stay.
        called: names that the spec uses for its assistant or maker, with those that stand for them.
        leave_out: titles of sections, ids or beginnings of clauses of the spec, that are no part of it.
        other_names: brands that the rows may name all the same (the other model of an ablation, say).
        require_name: whether a document must name the model.
        min_words, max_words: shortest and longest document; chats are held to the first as 1.
        languages: ISO 639-1 codes to keep; none keeps all. A row in which the language is unclear is kept and counted.
        frame_leaks: reject traces of how a row was written: prompt echoes, refusals, placeholders, bare plans.
        lists: the shipped lists of such phrases (`english`), or a YAML file's path.
        near_threshold: similarity of 5-word shingles from which on a document repeats another; `None` does not look.
        chat_near_threshold: the same for the questions of chats.
        meaning_threshold: cosine of embeddings from which on a row repeats another in meaning; `None` does not look.
        ngram_words: how many equal words in a row are an overlap with an evaluation.
        reject_contaminated: the methods whose findings reject a row; those of the others are only reported.
        embedding_threshold: cosine from which on a passage of a row is too near to an evaluation's item.
        embed: the model that gives vectors (`openai/<model>`); without it no likeness in meaning is looked for.
        denials: what becomes of documents with more than `max_denials` sentences that only deny something of the
            assistant: `hold` or `reject`; `None` counts them alone.
        value_terms: words of the spec's value, by which documents that assert it are found; by default those that the
            spec itself repeats.
        judge_claims: with a judge: how many of the kept documents it is asked whether they assert the value, and give
            it as a reason.
        judge: the model that judges faithfulness; `None` judges nothing.
        calibrate_each: with a judge: how many documents with each kind of planted violation, and clean ones for each,
            to measure it on; 0 leaves its error rates unmeasured.
        tokens_per_word: for estimates of tokens.
        n_samples: documents to show; `n_top` names, phrases and openings to show.
        seed: of samples, hash functions and planted violations.
        extra_filters: filters that other installed packages bring (entry points in the group
            `midspec.curate_filters`): name -> settings. Part of the identity only where there are some.
    """

    model_name: str | None = None
    provider_name: str | None = None
    called: dict[str, str] = Field(default={}, exclude_if=operator.not_)
    leave_out: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    other_names: tuple[str, ...] = ()
    require_name: bool = True
    min_words: int = Field(default=20, ge=1)
    max_words: int = Field(default=20_000, ge=1)
    languages: tuple[str, ...] = ()
    frame_leaks: bool = True
    lists: str = "english"
    near_threshold: float | None = Field(default=0.8, gt=0, le=1)
    chat_near_threshold: float | None = Field(default=None, gt=0, le=1)
    meaning_threshold: float | None = Field(default=None, gt=0, le=1)
    ngram_words: int = Field(default=8, ge=4)
    reject_contaminated: tuple[OverlapMethod, ...] = ()
    embedding_threshold: float = Field(default=0.85, gt=0, le=1)
    embed: ModelConfig | None = None
    denials: Literal["hold", "reject"] | None = Field(default=None, exclude_if=operator.not_)
    max_denials: int = Field(default=0, ge=0, exclude_if=operator.not_)
    value_terms: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    judge_claims: int = Field(default=0, ge=0, exclude_if=operator.not_)
    judge: ModelConfig | None = None
    calibrate_each: int = Field(default=0, ge=0)
    tokens_per_word: float = Field(default=TOKENS_PER_WORD, gt=0)
    n_samples: int = Field(default=12, ge=0)
    n_top: int = Field(default=30, ge=1)
    seed: int = 0
    extra_filters: dict[str, dict[str, JsonValue]] = Field(default_factory=dict, exclude_if=operator.not_)

    @property
    def keeps_contents(self) -> bool:
        """Return whether `health.json` holds what documents deny and assert: only where a setting is about it.

        The page shows it in any case; the files of older results keep their bytes.
        """
        return self.denials is not None or bool(self.value_terms or self.judge_claims)
