"""Fetch physics on mujoco_warp: thousands of worlds on one GPU."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.envs.fetch.engine import CapacityError, DivergedError, Engine
from torchrl_htrpo.envs.fetch.model import HAND_ROTATION, FetchModel
from torchrl_htrpo.envs.fetch.observation import Kinematics
from torchrl_htrpo.envs.fetch.tasks import ACTION_SCALE, SUBSTEPS
from torchrl_htrpo.envs.fetch.twist import Site, site_velocity
from torchrl_htrpo.envs.fetch.warp_graph import Recorded

_OVERFLOW = mjw.OverflowType
# Bits for dropped contacts or constraints. The other bits (such as an iteration limit) do not matter here.
_DROPPED = int(_OVERFLOW.NEFC | _OVERFLOW.NJMAX_NNZ | _OVERFLOW.BROADPHASE | _OVERFLOW.NARROWPHASE | _OVERFLOW.CCD)


@wp.kernel
def _shut_fingers(right: int, left: int, qpos: wp.array2d(dtype=float)):  # type: ignore[valid-type,no-untyped-def] # noqa: ANN202
    world = wp.tid()
    qpos[world, right] = 0.0
    qpos[world, left] = 0.0


class _Now(NamedTuple):
    """Last measurement of each world; after a partial reset the worlds differ in time."""

    hand_pos: Tensor
    hand_quat: Tensor
    kinematics: Kinematics


class WarpEngine(Engine):
    """Step ``N`` worlds in float32 on warp's device, sharing memory with torch.

    Only the check for dropped contacts and diverged worlds synchronises with the device, every ``check_every`` steps.
    The steps agree with MuJoCo's C library of the same version to about 1e-4 m in free motion; after contacts, which
    are chaotic, in distribution.

    Args:
        model: the model all worlds share.
        num_worlds: number of worlds ``N``.
        device: where the worlds live. Defaults to the GPU if there is one.
        nconmax: contacts per world for which memory is kept (shared by all worlds; 22 is the most seen in one).
        njmax: constraint rows per world for which memory is kept (125 is the most seen).
        check_every: steps between checks; 50 checks once per episode.

    Raises:
        ValueError: if a capacity or ``check_every`` is not positive.

    Example:
        >>> from torchrl_htrpo.envs.fetch.env import FetchEnv
        >>> env = FetchEnv("reach", num_envs=4096, engine="warp")  # doctest: +SKIP
        >>> env.rollout(50)["observation"].shape  # doctest: +SKIP
        torch.Size([4096, 50, 10])

    Source: `MuJoCo Warp <https://github.com/google-deepmind/mujoco_warp>`_.
    """

    def __init__(
        self,
        model: FetchModel,
        num_worlds: int,
        device: torch.device | str | None = None,
        *,
        nconmax: int = 48,
        njmax: int = 192,
        check_every: int = 50,
    ) -> None:
        for name, value in (("nconmax", nconmax), ("njmax", njmax), ("check_every", check_every)):
            if value < 1:
                raise ValueError(refusal(self, name, "a positive integer", value))
        wp.config.log_level = wp.LOG_WARNING  # do not print a banner
        wp.init()
        super().__init__(model, num_worlds, _pick(device))
        self.capacity, self.check_every = (nconmax, njmax), check_every
        self._steps = 0
        with wp.ScopedDevice(wp.device_from_torch(self.device)):
            self._m = mjw.put_model(model.mj_model)
            self._m.opt.warn_overflow = 0  # check() reports errors; the device does not print
            self._d = mjw.make_data(model.mj_model, nworld=num_worlds, nconmax=nconmax, njmax=njmax)
            self._reset_mask = wp.zeros(num_worlds, dtype=bool)
            wp.synchronize_device()  # use torch's stream
        self._view_arrays()
        self._clear = Recorded(lambda: mjw.reset_data(self._m, self._d, self._reset_mask), self.device)
        self._pose = Recorded(self._launch_pose, self.device)
        self._advance = Recorded(self._launch_step, self.device)
        self._now: _Now | None = None

    def _view_arrays(self) -> None:
        d, model, device = self._d, self.model, self.device
        self._mask = wp.to_torch(self._reset_mask)
        self.qpos, self.qvel, self._ctrl = wp.to_torch(d.qpos), wp.to_torch(d.qvel), wp.to_torch(d.ctrl)
        self._mocap_pos, self._mocap_quat = wp.to_torch(d.mocap_pos)[:, 0], wp.to_torch(d.mocap_quat)[:, 0]
        self._hand_pos = wp.to_torch(d.xpos)[:, model.hand_body]
        self._hand_quat = wp.to_torch(d.xquat)[:, model.hand_body]
        self._site_pos, self._site_mat = wp.to_torch(d.site_xpos), wp.to_torch(d.site_xmat)
        self._axes, self._centers = wp.to_torch(d.cdof), wp.to_torch(d.subtree_com)
        self._overflow = wp.to_torch(d.overflow)
        self._dropped = torch.zeros(self.num_worlds, dtype=torch.bool, device=device)
        self._diverged = torch.zeros_like(self._dropped)
        self._rotation = torch.as_tensor(HAND_ROTATION, dtype=torch.float32, device=device)
        self._start_qpos = torch.as_tensor(model.start_qpos, dtype=torch.float32, device=device)
        self._start_qvel = torch.as_tensor(model.start_qvel, dtype=torch.float32, device=device)
        self._fingers, self._finger_dofs, self._ctrl_qpos = (
            torch.as_tensor(at, device=device) for at in (model.fingers, model.finger_dofs, model.ctrl_qpos)
        )
        self._grip = Site.of(model, model.grip_site, device)
        self._object = Site.of(model, model.object_site, device) if model.task.has_object else None

    def _launch_pose(self) -> None:
        mjw.kinematics(self._m, self._d)
        mjw.com_pos(self._m, self._d)

    def _launch_step(self) -> None:
        for _ in range(SUBSTEPS):
            mjw.step(self._m, self._d)
        if self.model.task.block_gripper:
            right, left = (int(at) for at in self.model.fingers)
            wp.launch(_shut_fingers, dim=self.num_worlds, inputs=[right, left], outputs=[self._d.qpos])
            self._launch_pose()

    def reset(self, mask: Tensor, object_xy: Tensor | None) -> None:
        """See :meth:`Engine.reset`."""
        self._mask.copy_(mask)
        self._clear()
        chosen = mask.unsqueeze(-1)
        self.qpos.copy_(torch.where(chosen, self._start_qpos, self.qpos))
        self.qvel.copy_(torch.where(chosen, self._start_qvel, self.qvel))
        if object_xy is not None:
            place = self.qpos[:, self.model.object_qpos : self.model.object_qpos + 2]
            place.copy_(torch.where(chosen, object_xy.float(), place))
        self._pose()
        fresh = self._read()
        self._now = fresh if self._now is None else _choose(mask, fresh, self._now)

    def step(self, action: Tensor) -> None:
        """See :meth:`Engine.step`; raises only in steps that :meth:`check`."""
        now = self._now or self._read()
        command = action.float().clamp(-1.0, 1.0)
        self._mocap_pos.copy_(now.hand_pos + command[:, :3] * ACTION_SCALE)
        self._mocap_quat.copy_(now.hand_quat + self._rotation)
        if self._ctrl.shape[1]:
            self._ctrl.copy_(self.qpos.index_select(1, self._ctrl_qpos) + command[:, 3:])
        self._advance()
        self._now = self._read()
        # A reset clears both flags, so collect them here until check().
        self._dropped |= (self._overflow & _DROPPED) != 0
        self._diverged |= ~self.qpos.isfinite().all(dim=-1)
        self._steps += 1
        if self._steps % self.check_every == 0:
            self.check()

    def check(self) -> None:
        """Raise a CapacityError or DivergedError for the steps since the last check; synchronises with the device."""
        dropped, diverged = torch.stack([self._dropped, self._diverged]).cpu()
        self._dropped.zero_()
        self._diverged.zero_()
        if diverged.any():
            raise DivergedError(diverged.nonzero().flatten().tolist())
        if dropped.any():
            raise CapacityError(self._shortage(dropped.nonzero().flatten().tolist()))

    def _shortage(self, worlds: list[int]) -> str:
        nconmax, njmax = self.capacity
        return (
            f"WarpEngine: {len(worlds)} worlds (the first: {worlds[:8]}) had more contacts or constraints than there "
            f"is room for, and lost some: expected at most nconmax={nconmax} contacts per world on average and "
            f"njmax={njmax} constraint rows in any; pass FetchEnv(engine=WarpEngine(...)) with larger ones"
        )

    def _read(self) -> _Now:
        dt, qvel = self.model.dt, self.qvel
        grip_pos = self._site_pos[:, self._grip.index].clone()
        grip_velp, _ = site_velocity(self._grip, grip_pos, qvel, self._axes, self._centers)
        fingers = self.qpos.index_select(1, self._fingers), qvel.index_select(1, self._finger_dofs) * dt
        hand = self._hand_pos.clone(), self._hand_quat.clone()
        if self._object is None:
            return _Now(*hand, Kinematics(grip_pos, grip_velp * dt, *fingers))
        place = self._site_pos[:, self._object.index].clone()
        rotation = self._site_mat[:, self._object.index].clone()
        velp, velr = site_velocity(self._object, place, qvel, self._axes, self._centers)
        return _Now(*hand, Kinematics(grip_pos, grip_velp * dt, *fingers, place, rotation, velp * dt, velr * dt))

    def measure(self) -> Kinematics:
        """See :meth:`Engine.measure`; float32 on the device."""
        return (self._now or self._read()).kinematics

    def data(self, world: int) -> mujoco.MjData:
        """See :meth:`Engine.data`."""
        data = mujoco.MjData(self.model.mj_model)
        data.qpos[:] = self.qpos[world].cpu().numpy()
        data.mocap_pos[0] = self._mocap_pos[world].cpu().numpy()
        mujoco.mj_forward(self.model.mj_model, data)
        return data


def _pick(device: torch.device | str | None) -> torch.device:
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", torch.cuda.current_device())
    return chosen


def _choose(mask: Tensor, new: _Now, old: _Now) -> _Now:
    def pick(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    kinematics = Kinematics(*(pick(a, b) for a, b in zip(new.kinematics, old.kinematics, strict=True)))  # type: ignore[arg-type]
    hand = mask.unsqueeze(-1)
    hand_pos = torch.where(hand, new.hand_pos, old.hand_pos)
    return _Now(hand_pos, torch.where(hand, new.hand_quat, old.hand_quat), kinematics)
