"""Importance weights for learning about a goal from actions taken under another goal."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from torch import Tensor
from torchrl import torchrl_logger
from torchrl.envs import ExplorationType, set_exploration_type

from torchrl_htrpo._errors import choice, count, flag, number, refusal, require_shape
from torchrl_htrpo.batch.mask import validity
from torchrl_htrpo.batch.rows import by_goal, map_rows
from torchrl_htrpo.batch.transform import BatchTransform
from torchrl_htrpo.distributed import Group, all_max, all_sum, refuse_different
from torchrl_htrpo.hindsight.functional import cumulative_log_ratio, trajectory_weights
from torchrl_htrpo.modules.log_prob import action_log_prob, check_log_prob

Normalization = Literal["mean", "paper"]
Finished = Literal["exclude", "include"]


class CumulativeGoalRatio(BatchTransform):
    r"""Weight every step of a relabelled batch by its cumulative goal ratio (eqs. 77-80).

    .. math:: \rho_{j,i,t} = \prod_{k \le t} \frac{\tilde\pi(a_k|s_k,g'_j)}{\tilde\pi(a_k|s_k,g_i)}, \qquad
              w_{j,i,t} = \rho_{j,i,t} / \sum_{i'} \rho_{j,i',t}

    A trajectory that has reached the goal takes no further steps: it is finished. With ``finished="exclude"`` (the
    paper's choice) the sum over trajectories excludes it, and the weights of step ``t`` estimate an expectation given
    that the goal is not reached yet. Late steps then count as much as early ones, also where few trajectories have
    them. With ``finished="include"`` the sum includes a finished trajectory with its last ratio, and the weights
    estimate an expectation over all trajectories. ``"exclude"`` learns FetchPush faster; ``"include"`` keeps a policy
    good where training continues after success (docs/results).

    The product over all decisions corrects the states for the goal too, but few trajectories keep weight: 6 to 20 of
    128 on FetchPush. ``window`` keeps the ratio of the last decisions only; the states stay those of the collecting
    policies, as in off-policy policy gradients (`Degris et al. <https://arxiv.org/abs/1205.4839>`_).

    Evaluates the actor under the new goals on live steps only, in chunks, and computes the product as a sum in log
    space. Warns if all actions of the first batch are greedy: a ``ProbabilisticActor`` does not explore by default.
    Writes

    - ``action_log_prob``: :math:`\log\tilde\pi(a|s,g')`, the reference of the update; the collected log-probability
      moves to ``original_log_prob``;
    - ``importance_weight`` ``[G, N, T]``: :math:`w \gamma^t`, normalised so that sums over it are the paper's
      expectations (``normalization``);
    - ``("hindsight", "weight")`` ``[G, N, T]``: :math:`w` itself, for
      :class:`~torchrl_htrpo.evaluation.HindsightMetrics`.

    Args:
        actor: the policy that collected the batch, unchanged since.
        gamma: discount :math:`\gamma` of the weight :math:`\gamma^t`. Use the same number for the advantages.
        weighted: normalise the ratio over trajectories (weighted importance sampling); otherwise use the plain ratio
            (ablation "w/o WIS").
        per_decision: product up to each step; otherwise over the whole trajectory.
        window: the last decisions in the product, up to each step. Default: all (as published).
        finished: whether the sum over trajectories should ``"exclude"`` or ``"include"`` finished ones. It always
            excludes those in which the goal held before the first step.
        normalization: ``"mean"`` divides by the total weight: weighted sums are means over decisions, and a bound on
            the divergence is in nats per decision. ``"paper"`` keeps the units of eqs. 79, 80 and Tables 2, 3: it
            multiplies by :math:`(1-\gamma)/\lambda` with :math:`\lambda = N_\tau N_g`, the number of trajectories times
            that of goals, of those with any live step.
        chunk_size: rows evaluated together; bounds the memory.
        process_group: processes with other trajectories of the same batch, under the same goals and of the same ``T``.
            Sums over trajectories and the total weight are sums over all processes.

    Raises:
        KeyError: if an entry is missing.
        TypeError: if the actor has no distribution.
        ValueError: if ``finished`` or the normalisation is unknown, ``gamma`` outside [0, 1] (or 1 in the paper's
            units, whose factor :math:`1-\gamma` leaves no weight), the actor writes several log-probabilities, one of a
            live step is not finite (a check of values; the optimizer's status reports it too), or processes have
            different numbers of goals or steps.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> from torchrl_htrpo.modules import CategoricalHead, make_actor
        >>> from torchrl_htrpo.hindsight import AllGoalSampler, HindsightRelabel
        >>> env, actor = BitFlipEnv(4, num_envs=3), make_actor(CategoricalHead(4), 8)
        >>> relabelled = HindsightRelabel(env.task())(AllGoalSampler()(env.rollout(4, actor)))
        >>> round(CumulativeGoalRatio(actor)(relabelled)["importance_weight"].sum().item(), 4)
        1.0

    Source: `HTRPO <https://arxiv.org/abs/1907.12439>`_, Section 3.2 and D.1.
    """

    def __init__(
        self,
        actor: ProbabilisticTensorDictSequential,
        *,
        gamma: float = 0.98,
        weighted: bool = True,
        per_decision: bool = True,
        window: int | None = None,
        finished: Finished = "exclude",
        normalization: Normalization = "mean",
        chunk_size: int = 8192,
        process_group: Group = None,
    ) -> None:
        check_log_prob(self, actor)
        choice(self, "normalization", normalization, get_args(Normalization))
        choice(self, "finished", finished, get_args(Finished))
        flag(self, "weighted", weighted)
        flag(self, "per_decision", per_decision)
        number(self, "gamma", gamma)
        count(self, "chunk_size", chunk_size)
        if window is not None:
            count(self, "window", window)
            if not per_decision:
                raise ValueError(refusal(self, "window", "None with per_decision=False", window))
        if not 0 <= gamma <= 1 or (gamma == 1 and normalization == "paper"):
            expected = "in [0, 1)" if normalization == "paper" else "in [0, 1]"
            raise ValueError(refusal(self, "gamma", expected, gamma))
        super().__init__(in_keys=[*actor.in_keys, actor.log_prob_keys[0]], out_keys=["importance_weight"])
        # Do not register the actor as a submodule: its parameters must not appear twice.
        self.__dict__["actor"] = actor
        self.checked_exploration = False
        self.gamma, self.weighted, self.per_decision, self.window = gamma, weighted, per_decision, window
        self.finished, self.normalization, self.chunk_size = finished, normalization, chunk_size
        self.process_group = process_group

    @torch.no_grad()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Weigh a relabelled batch ``[G, *B, T]``."""
        out = self.weigh(tensordict)
        return self.normalize(out, self.totals(out))

    @torch.no_grad()
    def weigh(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Weigh a relabelled batch or some of its goals ``[G, *B, T]``, without the last step, :meth:`normalize`."""
        key = self.actor.log_prob_keys[0]
        (original,) = self._require(tensordict, key)
        require_shape(self, tensordict, [], key)
        live = validity(tensordict)
        refuse_different(self, "goals and steps", (live.shape[0], live.shape[-1]), self.process_group)
        self._refuse_non_finite(key, original, live)
        self._warn_if_greedy(tensordict[0], original[0])
        rows = tensordict.select(*self.actor.in_keys, *self.actor.dist_sample_keys)
        log_prob = map_rows(lambda row: action_log_prob(self.actor, row), rows, live, self.chunk_size)
        # -inf is valid (the action is impossible under the new goal), NaN is not.
        self._refuse_non_finite(key, log_prob, live & (log_prob != -torch.inf))
        weight = self.ratio(log_prob - original, live)
        out = tensordict.copy()
        out.set("original_log_prob", original)
        out.set(key, log_prob)
        out.set(("hindsight", "weight"), weight)
        factor = 1 if self.normalization == "mean" else 1 - self.gamma
        return out.set("importance_weight", weight * self._discount(weight) * factor)

    def _warn_if_greedy(self, tensordict: TensorDictBase, log_prob: Tensor) -> None:
        """Warn, at the first batch, if every action is the one that the policy takes without exploring."""
        params, actions = list(self.actor[-1].dist_params_keys), list(self.actor.dist_sample_keys)
        if self.checked_exploration or any(tensordict.get(key, default=None) is None for key in params):
            return
        self.checked_exploration = True
        rows = tensordict.select(*params, *actions)[log_prob != 0]  # 0 in padding; dead steps were collected, too
        if len(rows) and _is_greedy(self.actor[-1], rows, actions):
            torchrl_logger.warning(
                f"{type(self).__name__}: every action of the first batch is the greedy one. Was it collected without "
                "exploring? Give your ProbabilisticActor default_interaction_type=InteractionType.RANDOM, or collect "
                "under set_exploration_type(ExplorationType.RANDOM)."
            )

    def ratio(self, log_ratio: Tensor, live: Tensor) -> Tensor:
        """The (weighted) cumulative ratio of each step ``[G, *B, T]``, before discounting; 0 on dead steps.

        ``log_ratio`` is the log-probability under the new goal less that under the original one.
        """
        mask = by_goal(live)
        total = cumulative_log_ratio(by_goal(log_ratio), mask, self.per_decision, self.window)
        largest = torch.finfo(total.dtype).max ** 0.25
        plain = torch.where(mask, total.exp().clamp_max(largest), 0)
        included = mask.any(-1, keepdim=True).expand_as(mask) if self.finished == "include" else mask
        weight = trajectory_weights(total, mask, included, self.process_group) if self.weighted else plain
        return weight.reshape(log_ratio.shape)

    def totals(self, tensordict: TensorDictBase) -> TensorDict:
        """What :meth:`normalize` divides by, of a batch from :meth:`weigh`; the totals of parts of its goals add up."""
        live, weight = validity(tensordict), tensordict.get("importance_weight")
        if self.normalization == "paper":
            episode = by_goal(live).any(-1)
            goals = all_max(episode.any(1), self.process_group).sum()
            return TensorDict(goals=goals, trajectories=episode.sum(0))
        expected = weight if self.weighted else live.to(weight.dtype) * self._discount(weight)
        return TensorDict(weight=all_sum(expected.sum(), self.process_group))

    def normalize(self, tensordict: TensorDictBase, totals: TensorDictBase) -> TensorDictBase:
        """Divide weights from :meth:`weigh` by the totals of their whole batch, in place; return the tensordict."""
        weight = tensordict.get("importance_weight")
        if self.normalization == "paper":
            trajectories = all_sum((totals["trajectories"] > 0).sum(), self.process_group)
            total = (trajectories * totals["goals"]).clamp_min(1)
        else:
            total = totals["weight"].clamp_min(torch.finfo(weight.dtype).tiny)
        return tensordict.set("importance_weight", weight / total)

    def _discount(self, weight: Tensor) -> Tensor:
        return self.gamma ** torch.arange(weight.shape[-1], device=weight.device, dtype=weight.dtype)


def _is_greedy(draw: ProbabilisticTensorDictModule, rows: TensorDictBase, actions: list[NestedKey]) -> bool:
    """Whether all actions are those that the distribution gives without exploration."""
    try:
        with set_exploration_type(ExplorationType.DETERMINISTIC), warnings.catch_warnings(action="ignore"):
            greedy = draw(rows.exclude(*actions))
    except (AttributeError, NotImplementedError):  # a distribution without a greedy action
        return False
    return all(torch.equal(greedy.get(key), rows.get(key)) for key in actions)
