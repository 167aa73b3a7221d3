"""The picture of a run shows what the table holds."""

from __future__ import annotations

import imageio.v3 as imageio
import pytest
from matplotlib.axes import Axes

from torchrl_htrpo.records import plot_run

TABLE = {
    "eval/success": [(100, 0.1), (300, 0.9)],
    "eval/success_low": [(100, 0.05), (300, 0.8)],
    "eval/success_high": [(100, 0.2), (300, 0.95)],
    "eval/success_last": [(100, 0.0), (300, 0.4)],
    "step/divergence": [(100, 0.004), (200, 0.005)],
    "step/radius": [(100, 0.005), (200, 0.005)],
    "hindsight/ess": [(100, 5e4)],
    "train/entropy": [(100, 3.0), (200, 2.5)],
}


@pytest.fixture
def drawn(monkeypatch) -> dict[str, list[tuple[float, float]]]:
    """What is drawn in which panel: lines and bands, by the label of the axis and their own."""
    found = {}
    settle = Axes.legend

    def spy(self, *args, **kwargs):
        found[self.get_ylabel()] = {
            line.get_label(): list(zip(*line.get_data(), strict=True)) for line in self.get_lines()
        }
        bands = {band.get_label(): band.get_datalim(self.transData) for band in self.collections}
        found[self.get_ylabel()] |= {name: (box.y0, box.y1) for name, box in bands.items()}
        return settle(self, *args, **kwargs)

    monkeypatch.setattr(Axes, "legend", spy)
    return found


def test_a_run_is_four_panels(tmp_path, drawn):
    picture = plot_run(TABLE, tmp_path / "learning_curve.png", "reach")
    assert imageio.imread(picture).std() > 0
    success, step, size, entropy = drawn.values()
    assert success == {
        "at any step": TABLE["eval/success"],
        "at the last step": TABLE["eval/success_last"],
        "95 % interval": (0.05, 0.95),
    }
    assert step == {"after the step": TABLE["step/divergence"], "radius": TABLE["step/radius"]}
    assert list(size.values()) == [TABLE["hindsight/ess"]] and list(entropy.values()) == [TABLE["train/entropy"]]


def test_the_exploring_success_is_drawn_where_it_was_logged(tmp_path, drawn):
    exploring = [(100, 0.0), (200, 0.2), (300, 0.5)]
    plot_run(TABLE | {"train/success": exploring}, tmp_path / "curve.png")
    assert drawn["success rate"]["exploring"] == exploring


def test_a_panel_without_metrics_is_left_out_and_a_step_without_a_radius_has_none(tmp_path, drawn):
    plot_run({"step/divergence": [(1, 0.1)], "step/radius": [(1, 0.0)]}, tmp_path / "curve.png")
    assert [list(lines) for lines in drawn.values()] == [["after the step"]]


def test_the_suffix_tells_the_format_and_no_other_file_is_left(tmp_path):
    assert b"<svg" in plot_run(TABLE, tmp_path / "curve.svg").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["curve.svg"]
