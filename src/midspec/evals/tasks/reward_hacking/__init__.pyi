from ._reading import evaluate as evaluate
from ._reading import read_answer as read_answer
from ._task import EVAL_TASKS as EVAL_TASKS
from ._task import HackingItem as HackingItem
from ._task import RewardHacking as RewardHacking
from ._task import RewardHackingConfig as RewardHackingConfig
from ._task import hacking_items as hacking_items
