from ._task import EVAL_TASKS as EVAL_TASKS
from ._task import Honesty as Honesty
from ._task import HonestyConfig as HonestyConfig
from ._task import HonestyItem as HonestyItem
from ._task import honesty_items as honesty_items
