from ._config import StudyConfig as StudyConfig
from ._entries import check_graders as check_graders
from ._graph import STEP_KINDS as STEP_KINDS
from ._graph import study_steps as study_steps
from ._inputs import (
    EvalItems as EvalItems,
)
from ._inputs import (
    File as File,
)
from ._inputs import (
    Input as Input,
)
from ._inputs import (
    Model as Model,
)
from ._inputs import (
    Named as Named,
)
from ._inputs import (
    Value as Value,
)
from ._inputs import spec_at as spec_at
from ._load import Study as Study
from ._load import first_seeds as first_seeds
from ._load import load_study as load_study
from ._load import parse_study as parse_study
from ._load import study_schema as study_schema
from ._step import Cost as Cost
from ._step import Job as Job
from ._step import Size as Size
from ._step import Step as Step
from ._step import StepOutput as StepOutput
from ._step import StudyOutputs as StudyOutputs
from ._step import build_step as build_step
from ._step import store_beside as store_beside
from .execution._executor import Event as Event
from .execution._executor import Executor as Executor
from .execution._executor import Listener as Listener
from .execution._executor import StepHandle as StepHandle
from .execution._executor import StepState as StepState
from .execution._executor import StepTask as StepTask
from .execution._local import LocalExecutor as LocalExecutor
from .execution._local import StepFaultError as StepFaultError
from .execution._local import WorkerLostError as WorkerLostError
from .execution._run import report_again as report_again
from .execution._run import run_study as run_study
from .jobs._calibrate import CalibrationStep as CalibrationStep
from .jobs._chats import ChatsStep as ChatsStep
from .jobs._chats import forecast_chats as forecast_chats
from .jobs._chats import preview_chats as preview_chats
from .jobs._corpus import CorpusStep as CorpusStep
from .jobs._corpus import ReframeStep as ReframeStep
from .jobs._corpus import forecast_corpus as forecast_corpus
from .jobs._corpus import preview_documents as preview_documents
from .jobs._curate import CurateStep as CurateStep
from .jobs._endpoints import ModelEndpoints as ModelEndpoints
from .jobs._endpoints import spent_vs_forecast as spent_vs_forecast
from .jobs._eval_items import QuestionsConfig as QuestionsConfig
from .jobs._eval_items import WritePairsStep as WritePairsStep
from .jobs._eval_items import WriteQuestionsStep as WriteQuestionsStep
from .jobs._eval_task import Judging as Judging
from .jobs._eval_task import RescoreStep as RescoreStep
from .jobs._eval_task import TaskStep as TaskStep
from .jobs._exchange import ExportStep as ExportStep
from .jobs._exchange import ImportStep as ImportStep
from .jobs._exchange import MixStep as MixStep
from .jobs._exchange import NeutralStep as NeutralStep
from .jobs._preference import PreferenceStep as PreferenceStep
from .jobs._reasons import ReasonsStep as ReasonsStep
from .jobs._reasons import clause_texts as clause_texts
from .jobs._reasons import forecast_reasons as forecast_reasons
from .jobs._reasons import read_transcripts as read_transcripts
from .jobs._train import TrainStep as TrainStep
from .planning._plan import Plan as Plan
from .planning._plan import PlannedStep as PlannedStep
from .planning._plan import plan as plan
from .planning._task_estimate import Serving as Serving
