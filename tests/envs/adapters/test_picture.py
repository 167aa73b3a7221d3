"""Environments are rendered in the requested size, or in their own size and scaled to fit."""

from __future__ import annotations

import numpy as np
import pytest

from torchrl_htrpo.envs.adapters.picture import picture


class Sized:
    def render(self, *, width, height):
        return np.full((height, width, 3), 7, np.uint8)


class Standard:
    def __init__(self, drawn):
        self.drawn = drawn

    def render(self):
        return self.drawn


def test_the_size_is_passed_to_an_environment_that_takes_one():
    assert picture("me", Sized(), 5, 2).shape == (2, 5, 3)


def test_a_standard_picture_is_scaled_to_fit_in_its_own_proportions():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 200
    small = picture("me", Standard(image), 20, 20)
    assert small.shape == (10, 20, 3) and small.dtype == np.uint8
    assert (small[:, :8] == 0).all() and (small[:, 12:] == 200).all()


def test_a_picture_with_negative_strides_is_accepted():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)[::-1]
    assert np.array_equal(picture("me", Standard(image), 6, 4), image)


@pytest.mark.parametrize(("env", "said"), [(object(), "a render method, got 'object'"), (Standard(None), "rgb_array")])
def test_an_environment_that_cannot_draw_is_refused(env, said):
    with pytest.raises(TypeError, match=said):
        picture("me", env, 5, 5)
