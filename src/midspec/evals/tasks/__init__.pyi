from ._shipped import task_named as task_named
from ._shipped import task_names as task_names
