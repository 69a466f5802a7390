"""What is asked of the curating room."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from midspec.core.records import Strict
from midspec.llm import ModelConfig

How = Literal["n-gram", "entity", "embedding"]


class CurateConfig(Strict):
    """Which rows are kept, and what is measured of them.

    Attributes:
        model_name: the assistant that the rows are about; a document that never names it is rejected.
        provider_name: who makes it. Without either name nothing is known of who is right, and other brands stay.
        other_names: brands that the rows may name all the same (the other model of an ablation, say).
        require_name: whether a document must name the model.
        min_words, max_words: shortest and longest document; chats are held to the first as 1.
        languages: ISO 639-1 codes to keep; none keeps all. A row in which the language is unclear is kept and counted.
        frame_leaks: reject what shows the frame of the writing: prompt echoes, refusals, placeholders, bare plans.
        lists: the shipped lists of such phrases (`english`), or a YAML file's path.
        near_threshold: similarity of 5-word shingles from which on a document repeats another; `None` lets it be.
        chat_near_threshold: the same for the questions of chats.
        meaning_threshold: cosine of embeddings from which on a row repeats another in meaning; `None` does not look.
        ngram_words: how many equal words in a row are an overlap with an evaluation.
        reject_contaminated: rows found so are rejected; the others are only reported.
        embedding_threshold: cosine from which on a passage of a row is too near to an evaluation's item.
        embed: the model that gives vectors (`openai/<model>`); without it nobody looks for likeness in meaning.
        judge: the model that judges faithfulness; `None` judges nothing. It is never taken for granted.
        calibrate_each: with a judge: how many documents with each kind of planted violation, and clean ones for each,
            to measure it on; 0 leaves its error rates unmeasured.
        tokens_per_word: for estimates of tokens.
        n_samples: documents to show; `n_top` names, phrases and openings to show.
    """

    model_name: str | None = None
    provider_name: str | None = None
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
    reject_contaminated: tuple[How, ...] = ()
    embedding_threshold: float = Field(default=0.85, gt=0, le=1)
    embed: ModelConfig | None = None
    judge: ModelConfig | None = None
    calibrate_each: int = Field(default=0, ge=0)
    tokens_per_word: float = Field(default=4 / 3, gt=0)
    n_samples: int = Field(default=12, ge=0)
    n_top: int = Field(default=30, ge=1)
    seed: int = 0
