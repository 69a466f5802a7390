"""The corpus room: a Model Spec goes in, documents to midtrain on come out.

In: a `Spec` and a `CorpusConfig`, which names the frames (YAML data: the document types and their layouts). Out: a
`Corpus`: plan rows, documents, rejects, and how well they cover the spec. The author here is the quoting one: no
model, it arranges the spec's own sentences, and every row says so.
"""

from __future__ import annotations

from midspec.corpus._config import Corpus, CorpusConfig, CorpusResult, Covered, Distinctness
from midspec.corpus._corpus import make_corpus, plan_corpus, save_corpus
from midspec.corpus._format import Block, DocType, Frames, Layout, Part, load_frames
from midspec.corpus._measure import estimate_tokens
from midspec.corpus._write import write_documents

__all__ = [
    "Block",
    "Corpus",
    "CorpusConfig",
    "CorpusResult",
    "Covered",
    "Distinctness",
    "DocType",
    "Frames",
    "Layout",
    "Part",
    "estimate_tokens",
    "load_frames",
    "make_corpus",
    "plan_corpus",
    "save_corpus",
    "write_documents",
]
