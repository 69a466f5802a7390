"""Write documents to midtrain on from a Model Spec.

In: a `Spec` and a `CorpusConfig`. Out: plan rows, documents, rejects, and how well they cover the spec. There are two
kinds of author. The template author (`make_corpus`) needs no model: it arranges the spec's own sentences by a document
style (YAML data: document types and their layouts; other packages bring one under the entry point group
`midspec.document_styles`). A language model (`author_corpus`) invents types and ideas and writes in full; its prompts
are the files in `_prompts/`. Every row says which of them wrote it.

What a language model needs is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
