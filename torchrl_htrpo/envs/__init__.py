"""Tasks: a goal, and what "reached" means."""

from torchrl_htrpo.envs.bit_flip import BitFlipEnv
from torchrl_htrpo.envs.fetch import FetchEnv
from torchrl_htrpo.envs.goal import GoalTask, Within, same

__all__ = ["BitFlipEnv", "FetchEnv", "GoalTask", "Within", "same"]
