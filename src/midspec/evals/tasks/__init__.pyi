from ._registry import task_named as task_named
from ._registry import task_names as task_names
