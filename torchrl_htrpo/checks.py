"""Set whether to check the values of batches, which synchronises the host with the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

import torch

from torchrl_htrpo._errors import refusal

Checks = Literal["sync", "off"]
_MODE: ContextVar[Checks | None] = ContextVar("checks", default=None)


@contextmanager
def set_checks(mode: Checks | None) -> Iterator[None]:
    """Set whether to check the values of batches, for this thread.

    A check of values (finite numbers, one trajectory in a row, an allowed action) makes the host wait for the device.
    Without a choice, checks run on the CPU and are off on an accelerator. Checks of keys, shapes and arguments always
    run.

    The mode does not change results. With ``"off"``, rows of weight 0 are kept and masked, since shapes that depend on
    values need a synchronisation: :class:`~torchrl_htrpo.hindsight.AllGoalSampler` keeps a slot for each candidate,
    :class:`~torchrl_htrpo.batch.RowSampler` fills up its rows with masked ones, networks are evaluated on masked rows
    too, and conjugate gradients run all iterations (those after convergence change nothing). Sums may differ by
    rounding, and ``hindsight/live_share`` is a share of all slots.

    Args:
        mode: ``"sync"`` checks and waits, on any device; ``"off"`` does neither; ``None`` is the default by device.

    Raises:
        ValueError: if the mode is unknown.

    Example:
        >>> from torchrl_htrpo.batch import RowSampler
        >>> from tensordict import TensorDict
        >>> weight = torch.full((4,), torch.nan)
        >>> batch = TensorDict(importance_weight=weight, advantage=torch.ones(4, 1), batch_size=[4])
        >>> with set_checks("off"):
        ...     rows = RowSampler(2)(batch)
        >>> RowSampler(2)(batch)
        Traceback (most recent call last):
        ValueError: RowSampler: 'importance_weight' must be finite on every live step, got nan
    """
    if mode is not None and mode not in get_args(Checks):
        raise ValueError(refusal("set_checks", "mode", "one of the choices or None", mode, get_args(Checks)))
    token = _MODE.set(mode)
    try:
        yield
    finally:
        _MODE.reset(token)


def may_wait(device: torch.device) -> bool:
    """Whether code may wait for a device to read values: on the CPU only, unless :func:`set_checks` says otherwise."""
    mode = _MODE.get()
    return device.type == "cpu" if mode is None else mode == "sync"
