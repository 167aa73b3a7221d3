"""Leave out the rows that hardly count."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from torchrl_htrpo._errors import refusal
from torchrl_htrpo.batch.mask import MASK_KEY, validity
from torchrl_htrpo.batch.transform import BatchTransform


class RowPruner(BatchTransform):
    r"""Mask the live rows that matter least, as long as little is lost with them.

    Row :math:`m` matters as much as the larger of its shares in the divergence and in the gradient,

    .. math:: p_m = \max\Big(\frac{w_m}{\sum_k w_k}, \frac{|w_m A_m|}{\sum_k |w_k A_k|}\Big)

    and the rows of smallest :math:`p_m` go whose :math:`p_m` add up to no more than ``max_lost_share``. So no weighted
    mean of something bounded changes by more than that share of its bound, and the surrogate's gradient loses no more
    than that share of the summed magnitudes. Under a changed goal a few trajectories carry most of the weight, so many
    rows go. Writes the mask, a weight of 0 where it now is false, and ``("hindsight", "lost_share")``, the larger of
    the two shares lost, the same everywhere.

    Unlike a budget (:class:`RowSampler`) this is biased, by a known bound, and draws nothing.

    Args:
        max_lost_share: bound of what is lost, of all weight and of all contributions. With 0 only rows go that add
            nothing at all.

    Raises:
        ValueError: if ``max_lost_share`` is outside [0, 1), or a weight or an advantage of a live row is not finite
            (seen on the CPU only).

    Example:
        >>> from tensordict import TensorDict
        >>> weight = torch.tensor([0.5, 0.494, 0.004, 0.002])
        >>> batch = TensorDict(importance_weight=weight, advantage=torch.ones(4, 1), batch_size=[4])
        >>> pruned = RowPruner(0.01)(batch)
        >>> pruned["collector", "mask"], round(pruned["hindsight", "lost_share"][0].item(), 4)
        (tensor([ True,  True, False, False]), 0.006)
    """

    def __init__(self, max_lost_share: float = 1e-2) -> None:
        if not 0 <= max_lost_share < 1:
            raise ValueError(refusal(self, "max_lost_share", "in [0, 1)", max_lost_share))
        reads = ["importance_weight", "advantage"]
        super().__init__(in_keys=reads, out_keys=["importance_weight", MASK_KEY, ("hindsight", "lost_share")])
        self.max_lost_share = max_lost_share

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Mask rows of a weighted batch ``[*B]``."""
        weight, advantage = self._require(tensordict, *self.in_keys)
        live = validity(tensordict)
        for key, values in zip(self.in_keys, (weight, advantage), strict=True):
            self._refuse_non_finite(key, values, live)
        shares = torch.stack([_shares(values, live) for values in (weight, weight * advantage.squeeze(-1))])
        kept = live & ~self._negligible(shares.amax(0))
        lost = torch.where(kept, 0, shares).flatten(1).sum(-1).amax()
        out = tensordict.copy()
        out.set("importance_weight", torch.where(kept, weight, 0))
        out.set(("hindsight", "lost_share"), lost.to(weight.dtype).expand(live.shape))
        return out.set(MASK_KEY, kept)

    def _negligible(self, importance: Tensor) -> Tensor:
        ascending, order = importance.reshape(-1).sort()
        few = ascending.cumsum(0) <= self.max_lost_share
        return torch.zeros_like(few).scatter_(0, order, few).view(importance.shape)


def _shares(values: Tensor, live: Tensor) -> Tensor:
    size = torch.where(live, values.abs(), 0).double()
    return size / size.sum().clamp_min(torch.finfo(torch.float64).tiny)
