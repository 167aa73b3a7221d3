"""One wording for every refusal."""

from __future__ import annotations

from torchrl_htrpo._errors import refusal


class Thing:
    """Something that refuses."""


def test_a_refusal_names_who_what_expected_got_and_choices():
    assert refusal(Thing(), "size", "positive", -1) == "Thing: size must be positive, got -1"
    assert (
        refusal("Other", "mode", "known", "c", ("a", "b")) == "Other: mode must be known, got 'c' (choices: 'a', 'b')"
    )
