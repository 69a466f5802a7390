"""What a corpus, or a set of chats, is made of: its health, and how two differ."""

from __future__ import annotations

import operator
from typing import Literal

from pydantic import Field

from midspec.core.records._judging import Calibration, Share
from midspec.core.records._pipeline import Strict


class Size(Strict):
    """How much there is: rows (documents or chats), and their estimated tokens in all."""

    documents: int
    tokens: int


class Occurrences(Strict):
    """How often something recurs: times in all, and in how many rows."""

    times: int
    rows: int


class LengthBin(Strict):
    """How many rows have from `low` up to (not with) `high` words; the last bin has no upper end."""

    low: int
    high: int | None
    n: int


class Lengths(Strict):
    """The lengths of rows in words: quantiles, and a histogram over bins that are the same for every corpus."""

    least: int
    quarter: float
    median: float
    three_quarters: float
    most: int
    bins: tuple[LengthBin, ...]


class Sample(Strict):
    """One row to read, as it stands."""

    id: str
    doc_type: str
    text: str


class Leak(Strict):
    """One place where a row holds something of an evaluation: the row, what it holds, and the text around it."""

    row_id: str
    how: Literal["n-gram", "entity", "embedding"]
    what: str
    excerpt: str


class Contamination(Strict):
    """What rows and one evaluation's items have in common.

    `rows_hit` maps how it was looked for (`n-gram`, `entity`, `embedding`) to the number of rows found so, of
    `n_rows`; what was not looked for is absent. `items_hit` counts the items found by n-gram in some row; `terms_hit`
    the options and domains found as whole words, by rows. `rejected` says whether such rows were taken out.
    """

    evaluation: str
    n_rows: int
    n_items: int
    n_gram_words: int
    rows_hit: dict[str, int]
    n_rows_hit: int
    items_hit: int
    terms_hit: dict[str, int]
    rejected: bool
    examples: tuple[Leak, ...]


class Denial(Strict):
    """One sentence that only denies something of the assistant, the row it is in, and the sentence before it."""

    row_id: str
    before: str
    sentence: str


class Denials(Strict):
    """How often documents deny something of the assistant.

    Attributes:
        rows: documents with at least one sentence that only denies.
        n_about: sentences about the assistant.
        n_apart: those of them that only deny.
        n_inside: those that deny something and also say what it does.
        examples: of those that only deny, the first of each of the first documents.
        limits: what is not seen.
    """

    rows: Share
    n_about: int
    n_apart: int
    n_inside: int
    examples: tuple[Denial, ...]
    limits: str


class ValueClaims(Strict):
    """How many documents say that the assistant has the spec's value, and how many give it as the reason for a deed.

    Attributes:
        by: `words`, or the judge's model.
        asserted, as_reason: of the documents that were looked at; of those that a judge answered about.
        terms: the words that were taken for the value's own; empty for a judge.
        agrees: for a judge: of its answers to both questions, those that the words give too.
        without: the first documents that don't assert it, by id.
        limits: what is not seen.
    """

    by: str
    asserted: Share
    as_reason: Share
    terms: tuple[str, ...] = ()
    agrees: Share | None = None
    without: tuple[str, ...] = ()
    limits: str = ""


class CorpusLoss(Strict):
    """How surprising a corpus is to a model before training: its loss in nats a token, with a 95% interval.

    Attributes:
        name: of the corpus.
        model: that scored it.
        n_documents: that were scored, of `n_all`.
        n_tokens: of those, as the model's tokenizer cuts them.
        low, high: by the spread between documents; `None` for a single one.
    """

    name: str
    model: str
    n_documents: int
    n_all: int
    n_tokens: int
    loss: float
    low: float | None
    high: float | None


class Health(Strict):
    """What `health.json` holds: what a corpus, or a set of chats, is made of, before and after filtering.

    All but `before` and `coverage_before` is of the rows that were kept. Each count is in the order of frequency.

    Attributes:
        rejects: rows taken out, by the name of the filter; `reasons` by its reason as well.
        unclear: rows kept although a filter could not tell, by the name of the filter.
        held: rows taken out to be looked at: a judge found it unclear whether they are faithful, or `denials` holds.
        n_exact, n_near: rows taken out as exact and as near duplicates; `duplicates` shows pairs of ids, the row taken
            out first.
        names: capitalised words inside sentences, and runs of them; a heuristic.
        phrases: runs of four words.
        openings: the first four words of rows.
        clause_texts: clause id -> what the plan says of it, where there is a plan.
        coverage: clause id -> rows that claim it and the tokens of those rows, shared among the clauses they claim.
        share_distinct: distinct texts / rows; `mean_overlap` the mean Jaccard similarity of the sets of 5-word
            shingles of `n_pairs` random pairs.
        calibration: the judge's error rates, or `None`: not measured. `judged` says who judged, or `not judged`.
        cost_usd: what judging cost; `None` is unknown or nothing was asked.
        notes: what a reader must know, a sentence each.
        denials: of documents whose assistant's name is known.
        claims: of documents whose spec is known too: by words, and by a judge that was asked.
        loss: of the kept documents, where a model was named for it.
    """

    kind: Literal["documents", "chats"]
    before: Size
    after: Size
    rejects: dict[str, int]
    reasons: dict[str, int]
    unclear: dict[str, int]
    held: int
    n_exact: int
    n_near: int
    duplicates: tuple[tuple[str, str], ...]
    names: dict[str, Occurrences]
    phrases: dict[str, Occurrences]
    openings: dict[str, int]
    lengths: Lengths | None
    types: dict[str, int]
    domains: dict[str, int]
    languages: dict[str, int]
    clause_texts: dict[str, str]
    coverage_before: dict[str, Size]
    coverage: dict[str, Size]
    share_distinct: float
    mean_overlap: float
    n_pairs: int
    samples: tuple[Sample, ...]
    judged: str
    calibration: Calibration | None
    contamination: tuple[Contamination, ...]
    cost_usd: float | None = None
    notes: tuple[str, ...] = ()
    denials: Denials | None = Field(default=None, exclude_if=lambda found: found is None)
    claims: tuple[ValueClaims, ...] = Field(default=(), exclude_if=operator.not_)
    loss: CorpusLoss | None = Field(default=None, exclude_if=lambda found: found is None)


class Separability(Strict):
    """How well a simple classifier tells two corpora apart by words alone, on rows it was not trained on.

    `auc` is 0.5 where they can't be told apart and 1 where they always can; the interval is at 95%. `None` with a
    `note` where there are too few rows.
    """

    auc: float | None
    low: float | None
    high: float | None
    n_rows: tuple[int, int]
    method: str
    note: str = ""


class Comparison(Strict):
    """Two corpora side by side, so that what is taken for an effect of their content is not one of their style.

    Attributes:
        sizes: of both, in the order of `names`.
        types: document type -> rows in each. `type_distance` and `length_distance` are total variation distances
            of the two distributions, 0 (equal) to 1.
        n_vocabulary: distinct words of each. `vocabulary_distance` is the Jensen-Shannon distance (base 2) of the two
            distributions of words, 0 to 1.
        more_in: for each corpus the words that it uses most in excess of the other, with their rates per million
            words in (this, the other).
        names_in: for each corpus its most frequent names.
        separability: by all words, so content too tells them apart. `style` is by what has no topic: words that are
            frequent in both, punctuation, lengths of words and sentences; where it is near 1, A against B is a test
            of style as well.
        denials, claims: of each corpus's documents, claims of the value of one spec for both; empty where not read.
        losses: of each, where a model was named.
    """

    names: tuple[str, str]
    sizes: tuple[Size, Size]
    lengths: tuple[Lengths | None, Lengths | None]
    length_distance: float | None
    types: dict[str, tuple[int, int]]
    type_distance: float | None
    n_vocabulary: tuple[int, int]
    vocabulary_distance: float | None
    more_in: tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]
    names_in: tuple[dict[str, Occurrences], dict[str, Occurrences]]
    separability: Separability
    style: Separability
    notes: tuple[str, ...] = ()
    denials: tuple[Denials | None, ...] = Field(default=(), exclude_if=operator.not_)
    claims: tuple[ValueClaims | None, ...] = Field(default=(), exclude_if=operator.not_)
    losses: tuple[CorpusLoss, ...] = Field(default=(), exclude_if=operator.not_)
