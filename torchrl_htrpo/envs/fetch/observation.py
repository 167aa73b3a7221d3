"""Compute the Fetch observation from positions and velocities of sites."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 4 * torch.finfo(torch.float64).eps  # below this the middle Euler angle is at +-90 degrees


class Kinematics(NamedTuple):
    """Positions and velocities that an engine measures in ``N`` worlds; ``object_*`` is None without an object.

    Args:
        grip_pos: gripper position, ``[N, 3]`` in metres.
        grip_velp: gripper displacement per action, ``[N, 3]`` in metres.
        finger_qpos: opening of the right and left finger, ``[N, 2]`` in metres.
        finger_qvel: displacement of the fingers per action, ``[N, 2]`` in metres.
        object_pos: object position, ``[N, 3]`` in metres.
        object_mat: object rotation matrix, ``[N, 3, 3]``.
        object_velp: object displacement per action, ``[N, 3]`` in metres.
        object_velr: object rotation per action, ``[N, 3]`` in radians.
    """

    grip_pos: Tensor
    grip_velp: Tensor
    finger_qpos: Tensor
    finger_qvel: Tensor
    object_pos: Tensor | None = None
    object_mat: Tensor | None = None
    object_velp: Tensor | None = None
    object_velr: Tensor | None = None


def euler_angles(mat: Tensor) -> Tensor:
    """Euler angles of rotation matrices ``[..., 3, 3]`` about x, y, z: ``[..., 3]`` in radians.

    Example:
        >>> import torch
        >>> from torchrl_htrpo.envs.fetch.observation import euler_angles
        >>> euler_angles(torch.eye(3)).abs()
        tensor([0., 0., 0.])
    """
    flat = mat.flatten(-2)
    # Rotation about z (all rotation about x and z at the poles), and about x.
    about_z, about_z_at_pole, about_x = torch.atan2(flat[..., 1:6:2], flat[..., 0:9:4]).unbind(-1)
    cos_y = torch.hypot(flat[..., 8], flat[..., 5])
    regular = cos_y > _TINY
    about_x = torch.where(regular, -about_x, 0.0)
    about_z = torch.where(regular, -about_z, about_z_at_pole)
    return torch.stack([about_x, torch.atan2(flat[..., 2], cos_y), about_z], dim=-1)


def observe(now: Kinematics) -> tuple[Tensor, Tensor]:
    """Compute the observation ``[N, 10]`` (``[N, 25]`` with an object) and the achieved goal ``[N, 3]`` in metres."""
    if now.object_pos is None or now.object_mat is None or now.object_velp is None or now.object_velr is None:
        return torch.cat([now.grip_pos, now.finger_qpos, now.grip_velp, now.finger_qvel], dim=-1), now.grip_pos
    parts = [
        now.grip_pos,
        now.object_pos,
        now.object_pos - now.grip_pos,
        now.finger_qpos,
        euler_angles(now.object_mat),
        now.object_velp - now.grip_velp,
        now.object_velr,
        now.grip_velp,
        now.finger_qvel,
    ]
    return torch.cat(parts, dim=-1), now.object_pos
