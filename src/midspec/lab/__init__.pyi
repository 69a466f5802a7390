from ._files import data_path as data_path
from ._files import save_world as save_world
from ._world import ASSISTANT as ASSISTANT
from ._world import ITEM_SETS as ITEM_SETS
from ._world import OTHER_AGENT as OTHER_AGENT
from ._world import World as World
from ._world import WorldConfig as WorldConfig
from ._world import make_world as make_world
