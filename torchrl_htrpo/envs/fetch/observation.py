"""Compute the Fetch observation from positions and velocities of sites."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 4 * torch.finfo(torch.float64).eps  # below this the middle Euler angle is at +-90 degrees


class Kinematics(NamedTuple):
    """Positions and velocities that an engine measures in ``N`` worlds; ``object_*`` is None without an object."""

    grip_pos: Tensor  # [m] gripper position, [N, 3]
    grip_velp: Tensor  # [m] gripper displacement per action, [N, 3]
    finger_qpos: Tensor  # [m] opening of the right and left finger, [N, 2]
    finger_qvel: Tensor  # [m] displacement of the fingers per action, [N, 2]
    object_pos: Tensor | None = None  # [m] object position, [N, 3]
    object_mat: Tensor | None = None  # object rotation matrix, [N, 3, 3]
    object_velp: Tensor | None = None  # [m] object displacement per action, [N, 3]
    object_velr: Tensor | None = None  # [rad] object rotation per action, [N, 3]


def euler_angles(mat: Tensor) -> Tensor:
    """Euler angles of rotation matrices ``[..., 3, 3]`` about x, y, z: ``[..., 3]`` in radians."""
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
