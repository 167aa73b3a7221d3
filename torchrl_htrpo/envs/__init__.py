"""Tasks: a goal, and what "reached" means."""

from torchrl_htrpo.envs.bit_flip import BitFlipEnv
from torchrl_htrpo.envs.goal import GoalTask, Within, same

__all__ = ["BitFlipEnv", "GoalTask", "Within", "same"]
