"""How long the search for near duplicates takes, how much memory, and what it finds and misses.

    python benchmarks/dedup.py [--documents 100000] [--words 2250] [--processes 2]

Documents are synthetic, made one at a time from their number and a seed, so that none is kept: 30 paragraphs of words
drawn with Zipf's frequencies. Twenty documents are of one topic; documents of a topic share 0%, 30%, 60% or 80% of
their paragraphs, the last of which are alike (similarity about 0.67) and no duplicates. Every tenth document is a copy
of an earlier one with a share of its words replaced (0 to 10%), with its paragraphs in another order, or cut to 95%.

Sketches are made in processes; the index is in the parent, which sees documents in order. CPU seconds of making the
documents are counted apart and not part of the search; the wall time is of everything. Recall is stated by kind of copy
beside the copies' true similarity (of sets of 5-word shingles), precision over all that was found: the true similarity
of found pairs is computed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from midspec.core.near_duplicates import NearIndex, Sketch, Sketcher

SEED = 20_26
N_PARAGRAPHS = 30
TOPIC_SIZE = 20
SHARED = (0.0, 0.3, 0.6, 0.8)
KINDS = ("0%", "0.5%", "1%", "1.5%", "2%", "3%", "5%", "10%", "shuffled", "cut")
VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "ai") for c in range(280)]


class Made(NamedTuple):
    """What a process gives back of one document: its sketch, and the CPU seconds that both took."""

    number: int
    sketch: Sketch
    made_s: float
    sketched_s: float


def paragraph(n_words: int, *key: int) -> list[str]:
    """Words with Zipf's frequencies that depend on the key alone."""
    draw = np.random.default_rng((SEED, *key)).random(n_words)
    ranks = np.minimum(np.exp(draw * np.log(len(VOCABULARY))), len(VOCABULARY) - 1).astype(int)
    return [VOCABULARY[rank] for rank in ranks]


@lru_cache(maxsize=256)
def stock(topic: int, n_words: int) -> tuple[list[str], ...]:
    """The paragraphs that documents of a topic share."""
    n_shared = round(N_PARAGRAPHS * SHARED[topic % len(SHARED)])
    return tuple(paragraph(n_words, 1, topic, at) for at in range(n_shared))


def original(number: int, n_words: int) -> list[list[str]]:
    """The paragraphs of a document that is no copy."""
    each = n_words // N_PARAGRAPHS
    shared = stock(number // TOPIC_SIZE, each)
    return [*shared, *(paragraph(each, 2, number, at) for at in range(N_PARAGRAPHS - len(shared)))]


def is_copy(number: int) -> bool:
    """Every tenth document is one."""
    return number % 10 == 9


def source_of(number: int) -> int:
    """Which earlier document a copy is of: never a copy itself."""
    earlier = random.Random(f"{SEED}:{number}").randrange(number)
    return earlier - 1 if is_copy(earlier) else earlier


def kind_of(number: int) -> str:
    """How a copy was changed."""
    return KINDS[(number // 10) % len(KINDS)]


def words_of(number: int, n_words: int) -> list[str]:
    """A document's words, copies included."""
    if not is_copy(number):
        return [word for part in original(number, n_words) for word in part]
    parts, kind, draw = original(source_of(number), n_words), kind_of(number), random.Random(f"{SEED}:edit:{number}")
    if kind == "shuffled":
        draw.shuffle(parts)
    words = [word for part in parts for word in part]
    if kind == "cut":
        return words[: round(0.95 * len(words))]
    if kind.endswith("%"):
        for at in draw.sample(range(len(words)), round(float(kind[:-1]) / 100 * len(words))):
            words[at] = draw.choice(VOCABULARY)
    return words


def make(number: int, *, n_words: int, sketcher: Sketcher) -> Made:
    """Make and sketch one document, in a process."""
    start = time.process_time()
    text = " ".join(words_of(number, n_words))
    made = time.process_time()
    sketch = sketcher(text)
    return Made(number, sketch, made - start, time.process_time() - made)


def similarity(one: int, other: int, n_words: int) -> float:
    """The true Jaccard similarity of two documents' sets of 5-word shingles."""
    texts = (words_of(one, n_words), words_of(other, n_words))
    first, second = ({tuple(words[at : at + 5]) for at in range(len(words) - 4)} for words in texts)
    return len(first & second) / len(first | second)


def search(
    n_documents: int, n_words: int, n_processes: int, near: NearIndex
) -> Iterator[tuple[int, str | None, Made, float]]:
    """Each document in order: its number, what it repeats, what making it took, and CPU seconds in the index."""
    work = partial(make, n_words=n_words, sketcher=near.sketcher)
    with multiprocessing.get_context("spawn").Pool(n_processes) as pool:
        for made in pool.imap(work, range(n_documents), chunksize=50):
            start = time.process_time()
            found = near.find_or_add(str(made.number), made.sketch)
            yield made.number, found, made, time.process_time() - start


def report_copies(found: dict[int, str | None], n_words: int) -> None:
    """Recall by kind of copy, beside the true similarity of copy and original."""
    by_kind: dict[str, list[int]] = defaultdict(list)
    for number in filter(is_copy, found):
        by_kind[kind_of(number)].append(number)
    print(f"\n{'copy':>10} {'copies':>7} {'true similarity':>16} {'found':>7} {'of the right one':>17}")
    for kind in KINDS:
        numbers = by_kind[kind]
        if not numbers:
            continue
        true = [similarity(number, source_of(number), n_words) for number in numbers[:50]]
        n_found = sum(found[number] is not None for number in numbers)
        right = sum(found[number] == str(source_of(number)) for number in numbers)
        print(
            f"{kind:>10} {len(numbers):>7} {min(true):>8.3f}-{max(true):.3f} "
            f"{n_found / len(numbers):>8.2%} {right / max(1, n_found):>16.2%}"
        )


def report_found(found: dict[int, str | None], n_words: int, threshold: float) -> None:
    """Precision: of what was found, how much really is as similar as that."""
    pairs = [(number, int(key)) for number, key in found.items() if key is not None]
    drawn = random.Random(SEED).sample(pairs, min(len(pairs), 2000))
    true = np.asarray([similarity(one, other, n_words) for one, other in drawn])
    n_clean = sum(not is_copy(number) for number in found)
    wrong = sum(key is not None for number, key in found.items() if not is_copy(number))
    print(f"\nfound: {len(pairs):,} pairs; {wrong:,} of {n_clean:,} documents that are no copy were taken for one")
    for least in (threshold, threshold - 0.05, threshold - 0.1):
        print(
            f"precision at true similarity >= {least:.2f}: {(true >= least).mean():.2%} of {len(drawn):,} found pairs"
        )


def main() -> None:
    """Run the search and print what it took and what it found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=2250, help="2,250 words are about 3,000 tokens")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threshold", type=float, default=0.8)
    given = parser.parse_args()
    near = NearIndex(threshold=given.threshold)
    found: dict[int, str | None] = {}
    made_s = sketched_s = indexed_s = 0.0
    start = time.perf_counter()
    for number, key, made, seconds in search(given.documents, given.words, given.processes, near):
        found[number] = key
        made_s, sketched_s, indexed_s = made_s + made.made_s, sketched_s + made.sketched_s, indexed_s + seconds
    wall_s = time.perf_counter() - start
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{given.documents:,} documents of {given.words:,} words, {given.processes} processes")
    print(f"wall time, making the documents included: {wall_s / 60:.1f} minutes")
    print(f"search alone: {sketched_s + indexed_s:.0f} CPU-s ({sketched_s:.0f} sketches, {indexed_s:.0f} index)")
    print(f"making the documents: {made_s:.0f} CPU-s")
    print(f"peak memory: {own_mb:.0f} MB parent, {child_mb:.0f} MB the largest process")
    report_copies(found, given.words)
    report_found(found, given.words, given.threshold)


if __name__ == "__main__":
    main()
