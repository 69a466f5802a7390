"""The exchange room: what others made comes in, what we made goes out, and mixes are made of both.

In: JSONL, parquet, data set folders, data sets of the hub, the authors' tree of texts. Out: documents and chats as our
own rows; data set folders with a card for the `datasets` library, TRL and axolotl; instruction-tuning mixes and
neutral corpora cut to a token budget, each with a manifest. Nothing is uploaded but by `push`.
"""

from midspec.exchange._export import export
from midspec.exchange._forms import ChatRows, Form
from midspec.exchange._import import import_folder
from midspec.exchange._match import count_tokens
from midspec.exchange._mix import build_mix, build_neutral
from midspec.exchange._mix_config import MixConfig, MixFilters, MixPart, load_mix
from midspec.exchange._push import push
from midspec.exchange._read import Tally, read_chats, read_documents

__all__ = [
    "ChatRows",
    "Form",
    "MixConfig",
    "MixFilters",
    "MixPart",
    "Tally",
    "build_mix",
    "build_neutral",
    "count_tokens",
    "export",
    "import_folder",
    "load_mix",
    "push",
    "read_chats",
    "read_documents",
]
