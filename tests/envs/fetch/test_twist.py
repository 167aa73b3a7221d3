"""Velocities from motion axes are the Jacobian's."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from torchrl_htrpo.envs.fetch.model import load_model
from torchrl_htrpo.envs.fetch.tasks import TASKS
from torchrl_htrpo.envs.fetch.twist import Site, site_velocity


def test_velocity_equals_jacobian_times_joint_velocity():
    model = load_model(TASKS["push"])
    mj, data = model.mj_model, mujoco.MjData(model.mj_model)
    data.qpos[:] = model.start_qpos
    data.qvel[:] = np.random.default_rng(0).normal(size=mj.nv)
    mujoco.mj_forward(mj, data)
    arrays = [torch.tensor(array)[None] for array in (data.qvel, data.cdof, data.subtree_com)]
    for index in (model.grip_site, model.object_site):
        linear, angular = np.zeros((2, 3, mj.nv))
        mujoco.mj_jacSite(mj, data, linear, angular, index)
        site = Site.of(model, index, torch.device("cpu"))
        velp, velr = site_velocity(site, torch.tensor(data.site_xpos[index])[None], *arrays)
        np.testing.assert_allclose(velp[0], linear @ data.qvel, atol=1e-12)
        np.testing.assert_allclose(velr[0], angular @ data.qvel, atol=1e-12)
