"""Trainers: a base loop that collects, updates, evaluates and saves, and HTRPO."""

from torchrl_htrpo.trainers.base import Trainer, seed_everything
from torchrl_htrpo.trainers.descend import descend
from torchrl_htrpo.trainers.evaluator import Evaluator
from torchrl_htrpo.trainers.goal_blocks import GoalBlocks
from torchrl_htrpo.trainers.htrpo import HTRPOTrainer, encoder_of
from torchrl_htrpo.trainers.pipeline import HindsightPipeline, hindsight_pipeline
from torchrl_htrpo.trainers.ray_workers import LostWorkersError, RayWorkers

__all__ = [
    "Evaluator",
    "GoalBlocks",
    "HTRPOTrainer",
    "HindsightPipeline",
    "LostWorkersError",
    "RayWorkers",
    "Trainer",
    "descend",
    "encoder_of",
    "hindsight_pipeline",
    "seed_everything",
]
