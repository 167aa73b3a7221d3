"""Sample starts of objects and goals."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrl_htrpo.envs.fetch.model import FetchModel
from torchrl_htrpo.envs.fetch.streams import uniform
from torchrl_htrpo.envs.fetch.tasks import AIR_HEIGHT, AIR_SHARE, OBJECT_CLEARANCE

_GOAL, _OBJECT = 0, 1  # random streams of an episode
_CANDIDATES = 128  # a candidate is accepted with probability > 0.21, so all fail with probability below 4e-14


def draw_objects(model: FetchModel, seed: int, episode: Tensor) -> Tensor:
    """Sample object starts ``[N, 2]`` in metres: in a square around the gripper, outside the clearance circle.

    The numbers depend on the seed of the environment and the episodes begun by each world, ``[N]`` int64.
    """
    width = model.task.obj_range
    offset = uniform(seed, episode, _OBJECT, 2 * _CANDIDATES).unflatten(-1, (_CANDIDATES, 2)) * (2 * width) - width
    far_enough = offset.norm(dim=-1) >= OBJECT_CLEARANCE
    first = far_enough.to(torch.uint8).argmax(dim=-1)
    chosen = offset.gather(1, first[:, None, None].expand(-1, 1, 2)).squeeze(1)
    return chosen + torch.as_tensor(model.start_grip[:2], device=episode.device)


def draw_goals(model: FetchModel, seed: int, episode: Tensor) -> Tensor:
    """Sample goals ``[N, 3]`` in metres: in a box around the gripper, or on (for some tasks also above) the table."""
    task, device = model.task, episode.device
    draw = uniform(seed, episode, _GOAL, 5)
    goal = draw[:, :3] * (2 * task.target_range) - task.target_range
    goal = goal + torch.as_tensor(model.start_grip, device=device)
    if not task.has_object:
        return goal
    goal = goal + torch.tensor(task.target_offset, dtype=torch.float64, device=device)
    height = torch.full_like(goal[:, 2], model.object_height)
    if task.target_in_the_air:
        height = height + (draw[:, 3] < AIR_SHARE) * draw[:, 4] * AIR_HEIGHT
    return torch.cat([goal[:, :2], height[:, None]], dim=-1)
