"""Streams of random numbers: published vectors, independence of worlds, uniformity."""

from __future__ import annotations

import pytest
import torch

from torchrl_htrpo.envs.fetch.streams import philox, uniform

ALL_ONES = 0xFFFFFFFF
PUBLISHED = [  # known answers of the Random123 library
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ALL_ONES,) * 4, (ALL_ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_philox_gives_the_published_words(counter, key, expected):
    assert philox(torch.tensor(counter), key).tolist() == list(expected)


def test_a_world_draws_the_same_whatever_the_others_do():
    few = uniform(11, torch.tensor([4, 5]), 1, 7)
    many = uniform(11, torch.tensor([4, 5, 0, 9]), 1, 7)
    assert torch.equal(few, many[:2])


def test_worlds_episodes_purposes_and_seeds_draw_differently():
    zero = torch.zeros(2, dtype=torch.int64)
    draws = [uniform(0, zero, 0, 4), uniform(0, zero + 1, 0, 4), uniform(0, zero, 1, 4), uniform(1, zero, 0, 4)]
    flat = torch.cat(draws).flatten()
    assert flat.unique().numel() == flat.numel()


def test_negative_seeds_and_odd_counts_are_accepted():
    assert uniform(-3, torch.zeros(3, dtype=torch.int64), 0, 5).shape == (3, 5)


def test_draws_are_uniform():
    draws = uniform(5, torch.zeros(2000, dtype=torch.int64), 0, 50).flatten()
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(float(draws.mean()) - 0.5) < 5e-3  # 5.5 standard errors
    counts = torch.histc(draws, bins=20, min=0, max=1)
    assert float(((counts - 5000) ** 2 / 5000).sum()) < 50  # chi-squared, 19 degrees: exceeded with 1e-4
