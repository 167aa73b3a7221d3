"""Replace pictures in a batch by indices, so that encoders process each picture once."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from torch import nn

from torchrl_htrpo.batch.mask import last_steps, validity
from torchrl_htrpo.batch.transform import BatchTransform
from torchrl_htrpo.modules.pixel_encoder import PixelGoalEncoder


class ShareStates(BatchTransform):
    """Replace pictures by their indices, and give the pictures to the encoders of the networks.

    Use it before the goal sampler: relabelled rows then hold indices, and the encoders process every state once, not
    once for every goal. The state after a step is the state before the next step, so ``T`` steps have ``T + 1`` states;
    padding has none. Without a :class:`~torchrl_htrpo.modules.PixelGoalEncoder` the batch does not change.

    Writes the observation and the one under ``"next"``: int64 ``[*B, T]``.

    Args:
        *networks: the policy, the critic, and other networks with pictures as input.
        observation: key of the pictures.

    Raises:
        KeyError: if an entry is missing.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl.modules import ConvNet
        >>> encoder = PixelGoalEncoder(ConvNet(1, num_cells=[2]), (1, 3, 3), 2)
        >>> pictures, done = torch.rand(2, 5, 1, 3, 3), torch.zeros(2, 4, 1, dtype=torch.bool)
        >>> batch = TensorDict(observation=pictures[:, :-1], batch_size=[2, 4])
        >>> batch["next"] = TensorDict(observation=pictures[:, 1:], done=done, batch_size=[2, 4])
        >>> ShareStates(encoder)(batch)["next", "observation"]
        tensor([[1, 2, 3, 8],
                [5, 6, 7, 9]])
        >>> encoder.states.shape
        torch.Size([10, 1, 3, 3])
    """

    def __init__(self, *networks: nn.Module, observation: NestedKey = "observation") -> None:
        after = unravel_key(("next", observation))
        super().__init__(in_keys=[observation, after, ("next", "done")], out_keys=[observation, after])
        modules = (module for network in networks for module in network.modules())
        # Do not register the encoders as submodules: they belong to the networks.
        self.__dict__["encoders"] = [module for module in modules if isinstance(module, PixelGoalEncoder)]

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Replace the pictures of trajectories ``[*B, T]`` by indices."""
        if not self.encoders:
            return tensordict
        before, after, done = self._require(tensordict, *self.in_keys)
        live = validity(tensordict)
        ends = last_steps(live) | (live & done.squeeze(-1))
        first, *others = self.encoders
        first.remember(torch.cat((before[live], after[ends])))
        for encoder in others:
            encoder.states = first.states
        numbers = (live.flatten().cumsum(0) - 1).clamp_min(0).reshape(live.shape)
        last = (ends.flatten().cumsum(0) - 1).reshape(live.shape) + live.sum()
        following = torch.where(ends, last, torch.where(live, numbers + 1, 0))
        out = tensordict.copy()
        out.set(self.in_keys[0], numbers)
        return out.set(self.in_keys[1], following)
