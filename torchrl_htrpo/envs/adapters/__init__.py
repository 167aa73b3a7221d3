"""Create goal-conditioned environments, batch them, run them in worker processes, and check their outputs."""

from torchrl_htrpo.envs.adapters.env_batch import EnvBatch
from torchrl_htrpo.envs.adapters.factory import make_goal_env
from torchrl_htrpo.envs.adapters.finite_guard import FiniteGuard
from torchrl_htrpo.envs.adapters.history import with_history
from torchrl_htrpo.envs.adapters.recorder import EnvFailure

__all__ = [
    "EnvBatch",
    "EnvFailure",
    "FiniteGuard",
    "make_goal_env",
    "with_history",
]
