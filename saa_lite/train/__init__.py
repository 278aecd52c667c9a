"""The one training loop, evaluation, checkpoints, batch-norm re-estimation."""

from saa_lite.train.annealing import Annealing
from saa_lite.train.backward import backward_pass
from saa_lite.train.batch_norm import reestimate_batch_norm
from saa_lite.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from saa_lite.train.checks import DivergenceError
from saa_lite.train.config import TrainConfig
from saa_lite.train.confusion import Scores, confusion_matrix
from saa_lite.train.distillation import Distillation, DistilledTraining
from saa_lite.train.evaluate import evaluate, evaluation_mode, per_image
from saa_lite.train.loop import train
from saa_lite.train.method import Method
from saa_lite.train.schedule import learning_rate
from saa_lite.train.task import CLASSIFICATION, SEGMENTATION, Task

__all__ = [
    "CLASSIFICATION",
    "SEGMENTATION",
    "Annealing",
    "Distillation",
    "DistilledTraining",
    "DivergenceError",
    "Method",
    "Scores",
    "Task",
    "TrainConfig",
    "backward_pass",
    "confusion_matrix",
    "evaluate",
    "evaluation_mode",
    "has_checkpoint",
    "learning_rate",
    "load_checkpoint",
    "per_image",
    "reestimate_batch_norm",
    "save_checkpoint",
    "train",
]
