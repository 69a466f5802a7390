from ._shipped import exam_named as exam_named
from ._shipped import exam_names as exam_names
