"""Euler angles agree with gymnasium-robotics', at the poles too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchrl_htrpo.envs.fetch.observation import euler_angles


def test_euler_angles_equal_gymnasium():
    rotations = pytest.importorskip("gymnasium_robotics.utils.rotations")
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (200, 3))
    angles[:20, 1] = np.pi / 2
    matrices = rotations.euler2mat(angles)
    ours = euler_angles(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(ours, rotations.mat2euler(matrices), rtol=0, atol=1e-12)
