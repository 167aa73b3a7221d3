"""Counter-based random numbers: one stateless stream for each world, the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox4x32-10: 128 random bits ``[..., 4]`` from a 128-bit counter ``[..., 4]`` and a 64-bit key.

    All words are unsigned, of 32 bits, in int64. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3
    (https://doi.org/10.1145/2063384.2063405).
    """
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The product needs 64 unsigned bits; int64 wraps around to the same bits, and the mask removes the sign.
        low, high = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((high >> 32) & _MASK) ^ c1 ^ k0,
            high & _MASK,
            ((low >> 32) & _MASK) ^ c3 ^ k1,
            low & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return torch.stack([c0, c1, c2, c3], dim=-1)


def uniform(seed: int, episode: Tensor, purpose: int, count: int) -> Tensor:
    """Sample uniform numbers in ``[0, 1)`` for each world, from its stream of the episode: ``[N, count]`` float64.

    The numbers of world ``i`` depend neither on the number of worlds nor on the device.

    Args:
        seed: seed of the whole environment.
        episode: how many episodes each world has begun, ``[N]`` int64.
        purpose: small integer, one for each kind of sample in an episode (goal, object, ...).
        count: numbers per world.
    """
    blocks = -(-count // 2)  # one 128-bit block makes two 53-bit numbers
    world = torch.arange(episode.shape[0], device=episode.device)
    block = torch.arange(blocks, device=episode.device)
    counter = torch.stack(
        [
            block.expand(world.shape[0], blocks),
            world[:, None].expand(-1, blocks),
            (episode & _MASK)[:, None].expand(-1, blocks),
            torch.full((world.shape[0], blocks), purpose, device=episode.device),
        ],
        dim=-1,
    )
    words = philox(counter, (seed & _MASK, (seed >> 32) & _MASK)).reshape(world.shape[0], blocks * 2, 2)
    bits = (words[..., 0] >> 5) * 2**26 + (words[..., 1] >> 6)
    return (bits.double() * 2.0**-53)[:, :count]
