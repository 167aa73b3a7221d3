"""Goal-conditioned networks: a policy with any head, and a value function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import NestedKey
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl.data import Categorical, Composite, MultiCategorical, TensorSpec
from torchrl.envs import EnvBase
from torchrl.modules import MLP, ValueOperator

from torchrl_htrpo._errors import count, counts, number, refusal
from torchrl_htrpo.modules.activation import Tanh
from torchrl_htrpo.modules.heads.base import PolicyHead
from torchrl_htrpo.modules.normalizer import GoalNormalizer

GOAL_KEYS: tuple[NestedKey, ...] = ("observation", "desired_goal")


class GoalNetwork(nn.Module):
    """Encode an observation and a goal as one vector, and pass it through layers.

    Args:
        layers: takes the encoded inputs ``[*B, F]``.
        encoder: encodes the inputs as one vector: :class:`~torchrl_htrpo.modules.GoalNormalizer`,
            :class:`~torchrl_htrpo.modules.GoalMemory`, or :class:`~torchrl_htrpo.modules.PixelGoalEncoder` for pixels.

    Example:
        >>> from torchrl_htrpo.modules import GoalNormalizer
        >>> net = GoalNetwork(nn.Linear(13, 4), GoalNormalizer(10, 3))
        >>> net(torch.zeros(2, 10), torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(self, layers: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, layers

    def forward(self, *inputs: Tensor) -> Tensor:
        """Features of the (observation, goal) pairs."""
        return self.layers(self.encoder(*inputs))


def orthogonal_(layers: nn.Module, gain: float = 2**0.5, last_gain: float = 1.0) -> nn.Module:
    """Initialise linear and convolutional layers orthogonally, biases at zero, in place.

    Args:
        layers: the network.
        gain: gain of all layers but the last.
        last_gain: gain of the last layer; small for a policy, whose first actions should not depend on the input.

    Returns:
        The same network.

    Example:
        >>> layer = orthogonal_(nn.Linear(3, 3), last_gain=2.0)
        >>> torch.allclose(layer.weight @ layer.weight.T, 4 * torch.eye(3), atol=1e-5)
        True
    """
    number("orthogonal_", "gain", gain, 0)
    number("orthogonal_", "last_gain", last_gain, 0)
    weighted = [m for m in layers.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    for module in weighted:
        nn.init.orthogonal_(module.weight, last_gain if module is weighted[-1] else gain)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return layers


class Join(nn.Module):
    """Concatenate the inputs: the encoder that changes nothing."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Concatenate along the last dimension."""
        return torch.cat(inputs, -1)


def action_features(spec: TensorSpec) -> int | list[int] | dict[str, Any]:
    """Get the size argument of a head from an action spec: the number of actions or of dimensions.

    Of several choices at once it is a list, of an action in parts a dictionary with an entry for each part.

    Example:
        >>> from torchrl.data import Bounded, Categorical, Composite, MultiCategorical
        >>> action_features(Categorical(8)), action_features(Bounded(-1, 1, shape=(2, 4)))
        (8, 4)
        >>> parts = Composite(gear=Categorical(3), push=Bounded(-1, 1, shape=(1,)), tools=MultiCategorical([2, 4]))
        >>> action_features(parts)
        {'gear': 3, 'push': 1, 'tools': [2, 4]}
    """
    if isinstance(spec, Composite):
        leaves = spec.items(True, True)
        return {key if isinstance(key, str) else key[-1]: action_features(leaf) for key, leaf in leaves}
    if isinstance(spec, MultiCategorical):
        return spec.nvec.reshape(-1, spec.shape[-1])[0].tolist()
    return spec.space.n if isinstance(spec, Categorical) else spec.shape[-1]


def make_normalizer(env: EnvBase, clip: float | None = 5.0) -> GoalNormalizer:
    """Make the normaliser of an environment's observations and goals, to be shared by policy and critic.

    Args:
        env: with vectors as ``observation`` and ``desired_goal``.
        clip: bound of the normalised values [standard deviations].

    Example:
        >>> from torchrl_htrpo.envs import DetourEnv
        >>> make_normalizer(DetourEnv()).goal.mean.shape
        torch.Size([2])
    """
    observation, goal = (env.observation_spec[key].shape[-1] for key in GOAL_KEYS)
    return GoalNormalizer(observation, goal, clip=clip)


def _size(owner: str, source: int | EnvBase, in_keys: Sequence[NestedKey], encoder: nn.Module | None) -> int:
    """Features of a network's inputs."""
    if not isinstance(source, EnvBase):
        return count(owner, "input_size", source)
    joined: int | None = getattr(encoder, "num_features", None)
    return sum(source.observation_spec[key].shape[-1] for key in in_keys) if joined is None else joined


def _mlp(owner: str, input_size: int, output_size: int, hidden_sizes: Sequence[int]) -> MLP:
    sizes = counts(owner, "hidden_sizes", hidden_sizes)
    return MLP(input_size, output_size, num_cells=sizes, activation_class=Tanh)


def make_actor(
    head: PolicyHead | Callable[[Any], PolicyHead],
    input_size: int | EnvBase,
    hidden_sizes: Sequence[int] = (256, 256, 256),
    *,
    encoder: nn.Module | None = None,
    in_keys: Sequence[NestedKey] = GOAL_KEYS,
    action_key: NestedKey = "action",
) -> ProbabilisticTensorDictSequential:
    """Create a goal-conditioned policy: tanh layers, orthogonal weights, and the head's distribution.

    Args:
        head: what kind of action distribution; with an environment also a class of heads, or a partial of one.
        input_size: features of observation and goal together, as the encoder returns them; or an environment, which
            has these sizes.
        hidden_sizes: width of each hidden layer.
        encoder: encodes the inputs as one vector (see :class:`GoalNetwork`); default: concatenate them.
        in_keys: observation and goal.
        action_key: where the action (the parts of a mixed one below it) is written; its log-probability goes to
            ``<action_key>_log_prob``.

    Returns:
        A policy that samples unless ``set_exploration_type`` says otherwise, and whose ``get_dist`` gives the
        distribution.

    Example:
        >>> from tensordict import TensorDict
        >>> from torchrl_htrpo.modules.heads.gaussian import GaussianHead
        >>> actor = make_actor(GaussianHead(4), 13)
        >>> td = TensorDict(observation=torch.zeros(2, 10), desired_goal=torch.zeros(2, 3), batch_size=[2])
        >>> actor(td)["action_log_prob"].shape
        torch.Size([2])
        >>> from torchrl_htrpo.envs import DetourEnv
        >>> actor = make_actor(GaussianHead, DetourEnv(), (64, 64))
    """
    if not isinstance(head, PolicyHead):
        if not isinstance(input_size, EnvBase):
            raise TypeError(refusal("make_actor", "input_size", "an environment with a class of heads", input_size))
        head = head(action_features(input_size.action_spec))
    size = _size("make_actor", input_size, in_keys, encoder)
    mlp = orthogonal_(_mlp("make_actor", size, head.num_features, hidden_sizes), last_gain=0.1)
    network = GoalNetwork(nn.Sequential(mlp, head), encoder or Join())
    return ProbabilisticTensorDictSequential(
        TensorDictModule(network, in_keys=list(in_keys), out_keys=list(head.param_keys)), head.action_module(action_key)
    )


def make_critic(
    input_size: int | EnvBase,
    hidden_sizes: Sequence[int] = (256, 256, 256),
    *,
    encoder: nn.Module | None = None,
    in_keys: Sequence[NestedKey] = GOAL_KEYS,
) -> ValueOperator:
    """Create a goal-conditioned value function ``V(s, g)``: tanh layers, orthogonal weights.

    Args:
        input_size: features of observation and goal together, as the encoder returns them; or an environment.
        hidden_sizes: width of each hidden layer.
        encoder: encodes the inputs as one vector (see :class:`GoalNetwork`); default: concatenate them. Give policy and
            critic the same :class:`GoalNormalizer`; of a :class:`PixelGoalEncoder`, the same ``goal_normalizer``.
        in_keys: observation and goal.

    Returns:
        A value operator writing ``state_value`` ``[*B, 1]``.

    Example:
        >>> critic = make_critic(13)
        >>> critic(torch.zeros(2, 10), torch.zeros(2, 3)).shape
        torch.Size([2, 1])
    """
    size = _size("make_critic", input_size, in_keys, encoder)
    mlp = orthogonal_(_mlp("make_critic", size, 1, hidden_sizes))
    return ValueOperator(GoalNetwork(mlp, encoder or Join()), in_keys=list(in_keys))
