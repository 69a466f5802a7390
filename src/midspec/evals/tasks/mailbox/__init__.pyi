from ._box import Mailbox as Mailbox
from ._box import MailCall as MailCall
from ._task import EVAL_TASKS as EVAL_TASKS
from ._task import MailboxConfig as MailboxConfig
from ._task import MailboxTask as MailboxTask
from ._task import Rule as Rule
from ._task import Scenario as Scenario
from ._task import scenarios as scenarios
