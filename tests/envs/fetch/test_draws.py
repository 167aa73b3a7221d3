"""Goals and object starts are in the regions of their tasks."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.envs.fetch.draws import draw_goals, draw_objects
from torchrl_htrpo.envs.fetch.model import load_model
from torchrl_htrpo.envs.fetch.tasks import TASK_NAMES, TASKS

WORLDS = 4000
MANY = torch.zeros(WORLDS, dtype=torch.int64)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_goals_fill_their_region(task):
    model = load_model(TASKS[task])
    offset = draw_goals(model, 0, MANY) - torch.tensor(model.start_grip)
    offset = offset - torch.tensor(model.task.target_offset)
    reach = model.task.target_range
    plane = offset[:, :2] if model.task.has_object else offset
    assert plane.abs().max() <= reach
    assert (plane.amin(0) < -0.99 * reach).all() and (plane.amax(0) > 0.99 * reach).all()


@pytest.mark.parametrize("task", ["push", "slide"])
def test_goals_lie_on_the_table(task):
    model = load_model(TASKS[task])
    assert (draw_goals(model, 0, MANY)[:, 2] == model.object_height).all()


def test_half_of_the_pick_and_place_goals_hang_in_the_air():
    model = load_model(TASKS["pick_and_place"])
    height = draw_goals(model, 0, MANY)[:, 2] - model.object_height
    assert height.min() == 0 and 0.44 < height.max() < 0.45
    assert abs(float((height > 0).double().mean()) - 0.5) < 0.04  # 5 standard errors


@pytest.mark.parametrize("task", ["push", "slide", "pick_and_place"])
def test_objects_start_in_the_square_but_clear_of_the_gripper(task):
    model = load_model(TASKS[task])
    offset = draw_objects(model, 0, MANY) - torch.tensor(model.start_grip[:2])
    width = model.task.obj_range
    assert offset.abs().max() <= width and offset.norm(dim=-1).min() >= 0.1
    assert (offset.amin(0) < -0.98 * width).all() and (offset.amax(0) > 0.98 * width).all()
    assert (offset.mean(0).abs() < 0.01).all()
