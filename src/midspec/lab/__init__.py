"""The lab: a world small enough to learn on a CPU.

In: a seed and sizes. Out: pure data, as the ordinary rooms take it: a tokenizer folder, base-corpus rows to pretrain
on, rows to replay, held-out items and a competence gate; and the shipped files of the nano study (specs in the
world's own language, frames, the study file). Nothing is trained, asked or scored here.
"""

from midspec.lab._items import ITEM_SETS
from midspec.lab._language import ASSISTANT, OTHER_AGENT
from midspec.lab._save import data_path, save_world
from midspec.lab._world import World, WorldConfig, make_world

__all__ = ["ASSISTANT", "ITEM_SETS", "OTHER_AGENT", "World", "WorldConfig", "data_path", "make_world", "save_world"]
