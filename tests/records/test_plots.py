"""The learning curve shows what the table holds."""

from __future__ import annotations

import imageio.v3 as imageio
import pytest
from matplotlib.axes import Axes

from torchrl_htrpo.records import plot_learning_curve

TABLE = {
    "eval/success": [(100, 0.1), (300, 0.9)],
    "eval/success_low": [(100, 0.05), (300, 0.8)],
    "eval/success_high": [(100, 0.2), (300, 0.95)],
}


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[list[float], list[float]]]:
    """The lines that are drawn, as they are drawn."""
    lines = []
    plot = Axes.plot

    def spy(self, x, y, *args, **kwargs):
        lines.append((list(x), list(y)))
        return plot(self, x, y, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", spy)
    return lines


def test_the_curve_is_a_picture_of_the_greedy_success(tmp_path, drawn):
    picture = plot_learning_curve(TABLE, tmp_path / "learning_curve.png", "reach")
    assert imageio.imread(picture).std() > 0
    assert drawn == [([100, 300], [0.1, 0.9])]


def test_the_exploring_success_is_drawn_where_it_was_logged(tmp_path, drawn):
    plot_learning_curve(TABLE | {"train/success": [(100, 0.0), (200, 0.2), (300, 0.5)]}, tmp_path / "curve.png")
    assert drawn[1] == ([100, 200, 300], [0.0, 0.2, 0.5])


def test_the_suffix_tells_the_format_and_no_other_file_is_left(tmp_path):
    assert b"<svg" in plot_learning_curve(TABLE, tmp_path / "curve.svg").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["curve.svg"]
