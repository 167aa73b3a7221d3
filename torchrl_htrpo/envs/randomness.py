"""The random state of an environment, for checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchrl_htrpo._errors import count, refusal


def first_seed(owner: object, seed: int | None) -> int:
    """The seed of an environment, or one from torch's global generator if none is given.

    Raises:
        ValueError: if it is negative or not whole.
    """
    return int(torch.empty((), dtype=torch.int64).random_()) if seed is None else count(owner, "seed", seed, 0)


class GeneratorState:
    """Mixin: an ``EnvBase`` that samples its episodes from :attr:`generator`.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv
        >>> env = BitFlipEnv(8, seed=0)
        >>> state = env.rng_state()
        >>> first = env.reset()["desired_goal"]
        >>> env.set_rng_state(state)
        >>> torch.equal(env.reset()["desired_goal"], first)
        True
    """

    device: torch.device | None
    generator: torch.Generator

    def _set_seed(self, seed: int | None) -> None:
        self.generator = torch.Generator(self.device or "cpu").manual_seed(0 if seed is None else seed)

    def to(self, device: torch.device | str) -> Any:
        """Move the environment; on another device it gets a new generator, seeded from the present one."""
        moved = super().to(device)  # type: ignore[misc]
        if self.generator.device.type != torch.device(device).type:
            seed = int(torch.randint(2**62, (), generator=self.generator, device=self.generator.device))
            self.generator = torch.Generator(device).manual_seed(seed)
        return moved

    def rng_state(self) -> dict[str, Tensor]:
        """The random state that determines the next episodes: that of the generator."""
        return {"generator": self.generator.get_state()}

    def set_rng_state(self, state: dict[str, Tensor]) -> None:
        """Restore a state from :meth:`rng_state`, so that the next episodes are the same again."""
        self.generator.set_state(state["generator"])


class EpisodeSeeds:
    """Mixin: seed each episode from the seed, the index of the environment and the number of the episode.

    The ``EnvBase`` must create :attr:`_episode`, the number of episodes that each environment has begun. There is no
    other state, so episodes do not depend on how environments are distributed over threads or processes.

    Example:
        >>> from torchrl_htrpo.envs import BitFlipEnv, EnvBatch
        >>> env = EnvBatch([lambda: BitFlipEnv(4)] * 2, seed=0)
        >>> _ = env.reset()
        >>> env.rng_state()["episode"]
        tensor([1, 1])
        >>> env.close()
    """

    _seed: int
    _episode: Tensor

    def _set_seed(self, seed: int | None) -> None:
        self._seed = 0 if seed is None else seed
        self._episode.zero_()

    def rng_state(self) -> dict[str, Tensor]:
        """The state that determines the next episodes: the seed, and the episodes begun by each environment ``[N]``."""
        return {"seed": torch.tensor(self._seed), "episode": self._episode.clone()}

    def set_rng_state(self, state: dict[str, Tensor]) -> None:
        """Restore a state from :meth:`rng_state`; raise a ValueError if it has another number of environments."""
        if state["episode"].shape != self._episode.shape:
            expected, got = f"of shape {list(self._episode.shape)}", list(state["episode"].shape)
            raise ValueError(refusal(self, "state['episode']", expected, got))
        self._seed = int(state["seed"])
        self._episode.copy_(state["episode"])
