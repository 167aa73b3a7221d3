"""Configuration of each recipe: keys, types, defaults, ranges and consistency checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from torchrl_htrpo.recipes.settings.checks import require_booleans, require_that, within
from torchrl_htrpo.recipes.settings.components import component

Logger = StrEnum("Logger", ["csv", "tensorboard", "wandb"])
Metric = StrEnum("Metric", ["success", "success_last"])
Finished = StrEnum("Finished", ["exclude", "include"])
Normalization = StrEnum("Normalization", ["mean", "paper"])
GoalTask = component(
    "envs.GoalTask", "aim reward", partial=False, success_reward=10.0, ends_at_success=True, reached=MISSING
)

# What may change when a run resumes: how long, how evaluated, how shown. Threads and workers change no result.
FREE = {"total_steps", "resume", "logger", "name", "gif", "target_success", "target_metric", "target_evaluations"}
FREE |= {"eval_every", "eval_episodes", "final_episodes", "eval_exploration"}
FREE |= {"num_threads", "num_workers", "timeout", "start_method", "process_timeout"}


class Exploration(StrEnum):
    """Which action of a policy: greedy, the mode of a mixture, or a sample (``torchrl.envs.ExplorationType``)."""

    DETERMINISTIC = "DETERMINISTIC"
    MODE = "MODE"
    RANDOM = "RANDOM"


@dataclass
class RunConfig:
    """Keys of every recipe."""

    name: str = MISSING  # of the run
    seed: int = 0
    device: str = "cpu"  # of networks and updates
    logger: Logger = Logger.csv  # beside the CSV files, which are always written
    resume: str | None = None  # folder of a run to resume, under the same configuration
    total_steps: int = 30_000  # environment steps in all
    num_envs: int = 64  # stepped at once
    hidden_sizes: list[int] = field(default_factory=lambda: [64, 64])  # of policy and critic
    input_clip: float | None = 5.0  # of normalised inputs [standard deviations]
    gamma: float = 0.98  # discount

    def __post_init__(self) -> None:
        within(self, 0, 2**32 - 1, "seed")
        within(self, 1, inf, "total_steps", "num_envs", "hidden_sizes")
        within(self, 0, inf, "input_clip", above=True)
        within(self, 0, 1, "gamma")


@dataclass
class GoalRunConfig(RunConfig):
    """Keys of the recipes on goal tasks."""

    horizon: int = 50  # steps of an episode
    env: dict[str, Any] = MISSING  # the environment, with its own settings
    goal_task: GoalTask = field(default_factory=GoalTask)  # type: ignore[valid-type]
    num_goals: int = 100  # hindsight goals of an iteration
    normalize: bool = True  # observations and goals, with running statistics
    eval_every: int = 1  # iterations between evaluations
    eval_episodes: int = 64  # episodes of each
    final_episodes: int = 200  # episodes of the last evaluation
    target_success: float | None = None  # stop when an evaluation reaches it
    target_metric: Metric = Metric.success  # success: at any step; success_last: at the last step
    gif: bool = False  # draw the trained policy into policy.gif, and send it to the logger
    target_evaluations: int = 1  # evaluations in a row that must reach target_success

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 1, inf, "horizon", "num_goals", "eval_every", "eval_episodes", "final_episodes")
        within(self, 1, inf, "target_evaluations")
        within(self, 0, 1, "target_success", above=True)
        bits = self.env.get("num_bits", self.horizon)
        require_that(self, self.horizon == bits, "horizon", f"env.num_bits = {bits}")


@dataclass
class CriticConfig:
    """Keys of the critic's fit."""

    lr: float = 5.0e-4  # of Adam
    updates: int = 40  # minibatches per iteration
    batch_size: int = 8192  # rows of a minibatch

    def __post_init__(self) -> None:
        within(self, 0, inf, "lr", above=True)
        within(self, 1, inf, "updates", "batch_size")


@dataclass
class HTRPOConfig(GoalRunConfig):
    """HTRPO on a goal task."""

    start_from: str | None = None  # run whose best policy this one starts from, of the same sizes
    onednn: bool = True  # multiply float32 matrices on the CPU with oneDNN where it is exact (faster on AMD)
    head: Any = MISSING
    goals: Any = MISSING
    advantage: Any = MISSING
    divergence: Any = MISSING
    trust_region: Any = MISSING
    collector: Any = None  # null: in this process
    num_collectors: int = 1  # workers of collector=ray, which share num_envs
    trunk: Any = None  # of policy and critic, where observations are pictures
    batch_steps: int | None = None  # environment steps per iteration; null: one episode of each environment
    warmup_steps: int = 0  # random steps for the first statistics of the normaliser (counted)
    critic: CriticConfig = field(default_factory=CriticConfig)
    replay_batches: int = 1  # the last batches of trajectories, weighted and trained on together
    skip_held_goals: bool = True  # skip goals that held at the start of their own trajectory
    weighted: bool = True  # weighted importance sampling; false: the ablation "w/o WIS"
    per_decision: bool = True  # ratio up to each step; false: over the whole trajectory
    ratio_window: int | None = None  # last decisions in that ratio; null: all, as published
    center_advantage: bool = False  # subtract the weighted mean over trajectories, for each goal and step
    finished: Finished = Finished.exclude  # trajectories that reached the goal, in the sum over trajectories
    normalization: Normalization = Normalization.mean  # of the weights
    lmbda: float = 0.9  # bound of the trace coefficients (advantage=goal_vtrace), or GAE's lambda
    max_divergence: float = 0.005  # radius [nats per decision]
    cg_damping: float = 0.01  # [of the gradient's own curvature]
    gradient_rows: int | None = 65536  # rows for the gradient, drawn by contribution; null: all
    curvature_rows: int | None = 32768  # rows for the curvature, drawn by weight; null: all
    chunk_rows: int = 8192  # rows evaluated together; bounds the memory
    goal_block: int | None = None  # goals relabelled together; bounds the memory at twice the evaluations; null: all
    estimates: dict[str, Any] = field(default_factory=dict)  # divergences to report after each step, by name
    eval_exploration: Exploration = Exploration.DETERMINISTIC  # MODE: of a mixture; RANDOM: sampled, where that is best
    process_timeout: float = 1800.0  # processes of torchrun wait this long for one another [s]

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 1, inf, "gradient_rows", "curvature_rows", "chunk_rows", "goal_block", "ratio_window")
        within(self, 1, inf, "replay_batches", "batch_steps", "num_collectors")
        within(self, 0, inf, "max_divergence", above=True)
        within(self, 0, 1e7, "process_timeout", above=True)
        within(self, 0, inf, "cg_damping", "warmup_steps")
        within(self, 0, 1, "lmbda")
        episodes = self.num_envs * self.horizon
        batch = self.batch_steps or episodes
        fits = self.warmup_steps % self.num_envs == 0 and (self.warmup_steps > 0 or not self.normalize)
        expected = f"a multiple of num_envs = {self.num_envs}, above 0 with normalize"
        require_that(self, batch % episodes == 0, "batch_steps", f"a multiple of num_envs * horizon = {episodes}")
        require_that(self, fits, "warmup_steps", expected)
        require_that(self, self.collector or self.num_collectors == 1, "num_collectors", "1 without collector=ray")
        shared = self.num_envs % self.num_collectors == 0
        require_that(self, shared, "num_collectors", f"a divisor of num_envs = {self.num_envs}")
        least = self.warmup_steps + batch
        require_that(self, self.total_steps >= least, "total_steps", f"at least warmup_steps + one batch = {least}")


@dataclass
class HERConfig(GoalRunConfig):
    """Hindsight experience replay on a goal task."""

    agent: Any = MISSING
    hindsight: Any = MISSING
    success_terminates: bool = False  # bootstrap no value at a success; false: episodes continue there
    hindsight_share: float = 0.8  # of rows with a hindsight goal, the others keep their own
    replay_episodes: int = 512  # drawn from the buffer in an iteration; rows are steps of these
    updates_per_step: float = 0.25  # updates per environment step
    batch_size: int = 256  # rows of an update
    buffer_steps: int = 1_000_000  # environment steps that are kept
    lr: float = 1.0e-3  # of Adam
    polyak: float = 0.95  # share of its old parameters that a target network keeps in a step
    target_every: int = 1  # updates per step of the target networks
    save_every: int = 10  # iterations between checkpoints, which hold the replay buffer

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 1, inf, "replay_episodes", "batch_size", "target_every", "save_every")
        within(self, 0, inf, "updates_per_step", "lr", above=True)
        within(self, 0, 1, "hindsight_share", "polyak")
        require_that(self, self.gamma < 1, "gamma", "below 1: it bounds the values")
        batch = self.num_envs * self.horizon
        require_that(self, self.buffer_steps >= batch, "buffer_steps", f"at least one batch = {batch}")
        require_that(self, self.total_steps >= batch, "total_steps", f"at least one batch = {batch}")


@dataclass
class EpochsConfig:
    """How the critic is fitted."""

    lr: float = 1.0e-3  # of Adam
    epochs: int = 5  # passes over the batch
    batch_size: int = 256  # rows of a minibatch

    def __post_init__(self) -> None:
        within(self, 0, inf, "lr", above=True)
        within(self, 1, inf, "epochs", "batch_size")


@dataclass
class TRPOConfig(RunConfig):
    """TRPO on an ordinary gymnasium task."""

    total_steps: int = 300_000  # environment steps in all
    num_envs: int = 4  # stepped one after another
    input_clip: float | None = 10.0  # of normalised observations [standard deviations]
    gamma: float = 0.99  # discount
    env: str = "Hopper-v5"  # the id of a gymnasium environment
    head: Any = MISSING
    divergence: Any = MISSING
    trust_region: Any = MISSING
    normalization: str = "mean"
    reset_each_batch: bool = False  # begin new episodes with every batch, which is needed to resume bit for bit
    batch_steps: int = 2048  # environment steps per update
    critic: EpochsConfig = field(default_factory=EpochsConfig)
    lmbda: float = 0.97  # of GAE
    max_divergence: float = 0.01  # [nats per decision]
    cg_damping: float = 0.1  # [of the gradient's own curvature]
    chunk_rows: int = 8192  # rows evaluated together
    eval_exploration: Exploration = Exploration.DETERMINISTIC

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 1, inf, "batch_steps", "chunk_rows")
        within(self, 0, inf, "max_divergence", above=True)
        within(self, 0, inf, "cg_damping")
        within(self, 0, 1, "lmbda")
        require_that(
            self, self.batch_steps % self.num_envs == 0, "batch_steps", f"a multiple of num_envs = {self.num_envs}"
        )


def validate(cfg: DictConfig, schema: type[RunConfig]) -> None:
    """Raise a ValueError for values outside their range and for sizes that do not fit together."""
    # Plain values: launchers send a configuration to processes that have made the same classes again.
    plain: Any = OmegaConf.to_container(cfg, enum_to_str=True)
    typed = OmegaConf.structured(schema)
    require_booleans(plain.get("name", schema.__name__), typed, plain)
    OmegaConf.to_object(OmegaConf.merge(typed, plain))


def lasting(cfg: DictConfig) -> dict[str, Any]:
    """Keys that must not change when a run resumes, with resolved references."""
    kept: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    kept = {key: value for key, value in kept.items() if key not in FREE}
    if isinstance(kept.get("env"), dict):
        kept["env"] = {key: value for key, value in kept["env"].items() if key not in FREE}
    return kept
