"""Read what others made as rows, write rows for others, and mix rows of several sources.

In: JSONL, parquet, data set folders, data sets of the hub, the paper's authors' tree of texts. Out: documents and
chats as our own rows; data set folders with a card for the `datasets` library, TRL and axolotl; instruction-tuning
mixes and neutral corpora cut to a token budget, each with a manifest. Nothing is uploaded but by `push`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
