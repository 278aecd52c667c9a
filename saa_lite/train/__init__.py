"""The one training loop, evaluation, checkpoints, batch-norm re-estimation."""

from saa_lite.train.annealing import Annealing
from saa_lite.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from saa_lite.train.config import DivergenceError, TrainConfig
from saa_lite.train.distillation import Distillation, DistilledTraining
from saa_lite.train.evaluate import evaluate, evaluation_mode, per_image, reestimate_batch_norm
from saa_lite.train.loop import train
from saa_lite.train.optimizer import learning_rate
from saa_lite.train.run import Method, backward_pass
from saa_lite.train.task import CLASSIFICATION, SEGMENTATION, Scores, Task, confusion_matrix

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
