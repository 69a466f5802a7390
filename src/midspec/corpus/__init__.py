"""The corpus room: a Model Spec goes in, documents to midtrain on come out.

In: a `Spec` and a `CorpusConfig`. Out: plan rows, documents, rejects, and how well they cover the spec. There are two
kinds of author. The quoting one (`make_corpus`) needs no model: it arranges the spec's own sentences by frames (YAML
data: the document types and their layouts). A language model (`author_corpus`) invents types and ideas and writes in
full; its prompts are the files in `_prompts/`. Every row says which of them wrote it.

What a language model needs is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.corpus._config import Corpus, CorpusConfig, CorpusResult, Covered, Distinctness, Framing, Writing
from midspec.corpus._corpus import make_corpus, plan_corpus, save_corpus
from midspec.corpus._format import Block, DocType, Frames, Layout, Part, load_frames
from midspec.corpus._measure import estimate_tokens
from midspec.corpus._numbered import render_spec
from midspec.corpus._write import write_documents

if TYPE_CHECKING:
    from midspec.corpus._author import author_corpus, preview_corpus
    from midspec.corpus._loads import corpus_loads
    from midspec.corpus._reframe import reframe

__all__ = [
    "Block",
    "Corpus",
    "CorpusConfig",
    "CorpusResult",
    "Covered",
    "Distinctness",
    "DocType",
    "Frames",
    "Framing",
    "Layout",
    "Part",
    "Writing",
    "author_corpus",
    "corpus_loads",
    "estimate_tokens",
    "load_frames",
    "make_corpus",
    "plan_corpus",
    "preview_corpus",
    "reframe",
    "render_spec",
    "save_corpus",
    "write_documents",
]

_HOME_OF = {
    "author_corpus": "_author",
    "corpus_loads": "_loads",
    "preview_corpus": "_author",
    "reframe": "_reframe",
}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
