"""Goal-reaching Ms. Pac-Man on ale-py."""

from torchrl_htrpo.envs.ms_pacman.env import MsPacmanEnv

__all__ = [
    "MsPacmanEnv",
]
