"""Compute velocities of points on a robot from MuJoCo's motion axes, batched over worlds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchrl_htrpo.envs.fetch.model import FetchModel


@dataclass(frozen=True)
class Site:
    """A site of the model and the joints that move it."""

    index: int
    root: int  # index of the root body of its kinematic tree
    moved_by: Tensor  # 1 for the velocities that move it, else 0, [nv]

    @classmethod
    def of(cls, model: FetchModel, index: int, device: torch.device) -> Site:
        """Find the site in a model."""
        mj, ancestors = model.mj_model, []
        body = int(mj.site_bodyid[index])
        root = int(mj.body_rootid[body])
        while body != 0:
            ancestors.append(body)
            body = int(mj.body_parentid[body])
        moved_by = np.isin(mj.dof_bodyid, ancestors)
        return cls(index, root, torch.as_tensor(moved_by, dtype=torch.float32, device=device))


def site_velocity(site: Site, point: Tensor, qvel: Tensor, axes: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Linear [m/s] and angular [rad/s] velocity ``[N, 3]`` of a site: its Jacobian times the joint velocities.

    Args:
        site: the site.
        point: its position, ``[N, 3]`` in metres.
        qvel: joint velocities, ``[N, nv]``.
        axes: MuJoCo's ``cdof``, rotation and translation of each velocity, ``[N, nv, 6]``.
        centers: MuJoCo's ``subtree_com``, ``[N, nbody, 3]`` in metres.
    """
    twist = torch.einsum("nv,nvs->ns", qvel * site.moved_by, axes)
    angular, linear = twist[:, :3], twist[:, 3:]
    return linear + torch.linalg.cross(angular, point - centers[:, site.root]), angular
