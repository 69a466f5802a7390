from ._cost import estimate_stage as estimate_stage
from ._disk_buffer import DiskBuffer as DiskBuffer
from ._gather import Pool as Pool
from ._gather import gather as gather
from ._prompts import PromptFolder as PromptFolder
from ._prompts import PromptTemplate as PromptTemplate
