"""Reproduce a figure or table of the paper: run what is missing, keep the needed columns, draw.

    python recipes/paper/reproduce.py entry=figure_4 seeds=3
    python recipes/paper/reproduce.py entry=figure_9 'only_tasks=[four_rooms]' 'only_systems=[htrpo,htrpo_no_wis]'
    python recipes/paper/reproduce.py --multirun 'entry=glob(*)' run=false

Each entry (``config/entry``) expands to runs, task x system x seed, each a recipe with overrides in a folder of its
own. Finished runs are skipped, interrupted ones resume, several run at once. The ``metrics.csv`` of each, but for
columns that nobody draws, goes to ``<results>/data``; picture and table come from there alone, so the last line above
draws everything again without running anything.
"""

from __future__ import annotations

from pathlib import Path

import hydra
from data import keep
from jobs import jobs_of, run_all
from omegaconf import DictConfig
from pictures import draw, runs_of, table_of


@hydra.main(version_base="1.3", config_path="config", config_name="reproduce")
def main(cfg: DictConfig) -> None:
    """Reproduce one entry."""
    results = Path(cfg.results)
    if cfg.run:
        jobs = list(jobs_of(cfg))
        run_all(jobs, cfg.jobs)
        for job in jobs:
            if job.done:
                keep(job.folder / "metrics.csv", results / "data" / job.task / job.system / f"seed_{job.seed}.csv")
    runs = runs_of(cfg.entry, results / "data")
    if not runs:
        print(f"{cfg.entry.name}: nothing was run yet")
        return
    draw(cfg.entry, runs, results / f"{cfg.entry.name}.png")
    (results / "tables").mkdir(exist_ok=True)
    (results / "tables" / f"{cfg.entry.name}.md").write_text(table_of(cfg.entry, runs))
    print(f"{cfg.entry.name}.png and tables/{cfg.entry.name}.md are in {results}")


if __name__ == "__main__":
    main()
