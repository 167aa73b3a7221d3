"""The transforms from collected trajectories to weighted, relabelled rows with advantages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl import timeit
from torchrl.envs import Compose

from torchrl_htrpo._errors import count, flag, refusal
from torchrl_htrpo.distributed import Group
from torchrl_htrpo.envs import GoalTask
from torchrl_htrpo.hindsight import CumulativeGoalRatio, GoalSampler, HGFGoalSampler, HindsightRelabel, ShareStates
from torchrl_htrpo.objectives import CenterAdvantage, GoalVTrace, StateValue
from torchrl_htrpo.trainers.goal_blocks import GoalBlocks


class HindsightPipeline(nn.Module):
    """Relabel and weight a batch of trajectories, then compute values and advantages.

    Args:
        hindsight: goals, relabelling, weights: ``[N, T] -> [G, N, T]``.
        value: writes the values of both states of each step.
        advantage: writes advantages and value targets, of each pair of goal and trajectory by itself.
        goal_block: goals relabelled together; bounds the memory. ``hindsight`` must then end with
            :class:`HindsightRelabel` and :class:`CumulativeGoalRatio`. Default: all.

    Raises:
        ValueError: if the weights and the advantage have different discounts, or ``goal_block`` is not positive or does
            not suit ``hindsight``.

    Example:
        >>> from torchrl_htrpo import BitFlipEnv, make_actor, make_critic
        >>> from torchrl_htrpo.modules import CategoricalHead
        >>> actor, critic = make_actor(CategoricalHead(4), 8), make_critic(8)
        >>> HindsightPipeline(CumulativeGoalRatio(actor, gamma=0.9), StateValue(critic), GoalVTrace(gamma=0.98))
        Traceback (most recent call last):
        ValueError: HindsightPipeline: gamma must be the same in all parts, got [('CumulativeGoalRatio', 0.9), ...
    """

    def __init__(
        self, hindsight: nn.Module, value: nn.Module, advantage: nn.Module, *, goal_block: int | None = None
    ) -> None:
        super().__init__()
        self.hindsight, self.value, self.advantage = hindsight, value, advantage
        self.goal_block = goal_block if goal_block is None else count(self, "goal_block", goal_block)
        self.parts = list(hindsight.transforms) if isinstance(hindsight, Compose) else [hindsight]
        if goal_block is not None and not _ends_with_weights(self.parts):
            expected = "a Compose that ends with HindsightRelabel, CumulativeGoalRatio (needed by goal_block)"
            raise ValueError(refusal(self, "hindsight", expected, [type(part).__name__ for part in self.parts]))
        check_discount(self, self)

    def forward(self, batch: TensorDictBase) -> TensorDictBase | GoalBlocks:
        """Transform trajectories ``[N, T]`` to relabelled rows ``[G, N, T]``, or to blocks of them."""
        if self.goal_block is not None:
            return self._blocks(batch, self.goal_block)
        with timeit("hindsight"):
            relabelled = self.hindsight(batch)
        with timeit("value"):
            return self.advantage(self.value(relabelled))

    def _blocks(self, batch: TensorDictBase, goals: int) -> GoalBlocks:
        *first, relabel, _ = self.parts
        ratio = cast("CumulativeGoalRatio", self.parts[-1])

        def compute(part: TensorDictBase) -> TensorDictBase:
            with timeit("hindsight"):
                relabelled = ratio.weigh(relabel(part))
            with timeit("value"):
                return self.advantage(self.value(relabelled))

        with timeit("hindsight"):
            for transform in first:
                batch = transform(batch)
        return GoalBlocks(batch, compute, ratio, goals)


def _ends_with_weights(parts: list[nn.Module]) -> bool:
    *_, relabel, ratio = [None, None, *parts]
    return isinstance(relabel, HindsightRelabel) and isinstance(ratio, CumulativeGoalRatio)


def check_discount(owner: object, pipeline: nn.Module) -> None:
    """Raise a ValueError that names modules of a pipeline with different discounts ``gamma``."""
    parts = [(type(part).__name__, getattr(part, "gamma", None)) for part in pipeline.modules()]
    found = [(name, round(float(gamma), 6)) for name, gamma in parts if isinstance(gamma, (float, int, Tensor))]
    if len({gamma for _, gamma in found}) > 1:
        raise ValueError(refusal(owner, "gamma", "the same in all parts", found))


def check_group(owner: object, pipeline: nn.Module, process_group: Group) -> None:
    """Raise a ValueError that names modules of a pipeline with another ``process_group`` than its trainer."""
    parts = [part for part in pipeline.modules() if getattr(part, "process_group", process_group) is not process_group]
    if parts:
        names = [type(part).__name__ for part in parts]
        raise ValueError(refusal(owner, "process_group", "the same in all parts of the pipeline", names))


def hindsight_pipeline(
    actor: ProbabilisticTensorDictSequential,
    critic: TensorDictModule,
    task: GoalTask,
    *,
    gamma: float = 0.98,
    goals: GoalSampler | None = None,
    advantage: Callable[..., nn.Module] = GoalVTrace,
    center_advantage: bool = False,
    chunk_size: int = 8192,
    goal_block: int | None = None,
    process_group: Group = None,
    **ratio: Any,
) -> HindsightPipeline:
    """Create the transforms of HTRPO, all with the same discount.

    Args:
        actor: the policy.
        critic: the value operator.
        task: goals and rewards.
        gamma: the discount of weights and advantages.
        goals: chooses hindsight goals. Default: 100 goals of :class:`HGFGoalSampler`, without those that held at the
            start of their own trajectory.
        advantage: makes the advantage estimator, called with ``gamma=``.
        center_advantage: whether to add :class:`CenterAdvantage`.
        chunk_size: rows evaluated together; bounds the memory of the networks.
        goal_block: goals relabelled together; bounds the memory of the relabelled batch. The module then returns
            :class:`~torchrl_htrpo.trainers.GoalBlocks`. Default: all.
        process_group: processes with other trajectories of the same batch. A sampler in ``goals`` needs it too.
        **ratio: for :class:`CumulativeGoalRatio` (``weighted``, ``per_decision``, ``window``, ...).

    Returns:
        A module from trajectories ``[N, T]`` to rows ``[G, N, T]``.

    Example:
        >>> from torchrl_htrpo import BitFlipEnv, make_actor, make_critic
        >>> from torchrl_htrpo.modules import CategoricalHead
        >>> env, actor, critic = BitFlipEnv(4, num_envs=8), make_actor(CategoricalHead(4), 8), make_critic(8)
        >>> pipeline = hindsight_pipeline(actor, critic, env.task(), gamma=0.9)
        >>> rows = pipeline(env.rollout(4, actor))
        >>> rows["advantage"].shape == (*rows["importance_weight"].shape, 1)
        True
    """
    hindsight = Compose(
        ShareStates(actor, critic),
        goals or HGFGoalSampler(100, skip_held=task.reached, process_group=process_group),
        HindsightRelabel(task),
        CumulativeGoalRatio(actor, gamma=gamma, chunk_size=chunk_size, process_group=process_group, **ratio),
    )
    value = StateValue(critic, chunk_size=chunk_size)
    estimator = advantage(gamma=gamma)
    if flag("hindsight_pipeline", "center_advantage", center_advantage):
        estimator = nn.Sequential(estimator, CenterAdvantage(process_group=process_group))
    return HindsightPipeline(hindsight, value, estimator, goal_block=goal_block)
