"""Reproduce a figure or table of the paper: run what is missing, keep the needed columns, draw.

    python recipes/paper/reproduce.py entry=figure_4 seeds=3
    python recipes/paper/reproduce.py entry=figure_9 'only_tasks=[four_rooms]' 'only_systems=[htrpo,htrpo_no_wis]'
    python recipes/paper/reproduce.py by_value=true minutes=150 keep=unfinished jobs=1
    python recipes/paper/reproduce.py --multirun 'entry=glob(*)' run=false

Each entry (``config/entry``) expands to runs, task x system x seed, each a recipe with overrides in a folder of its
own; ``by_value=true`` runs the list of ``config/order.yaml`` instead. Finished runs are skipped, interrupted ones
resume, several run at once. The ``metrics.csv`` of each, but for columns that nobody draws, goes to ``<results>/data``,
also while it runs; picture and table come from there alone, so the last line above draws everything again.

Exit code: 0 if all is done, 1 if a run failed, 3 if work is left.
"""

from __future__ import annotations

from pathlib import Path

import hydra
from data import Record, keep, place_of
from jobs import Job, entries_of, jobs_of
from kept import keep_run
from omegaconf import DictConfig
from pictures import draw_entry
from runner import Runner


@hydra.main(version_base="1.3", config_path="config", config_name="reproduce")
def main(cfg: DictConfig) -> None:
    """Reproduce one entry, or continue with the list of ``order.yaml``."""
    results, code = Path(cfg.results), 0
    if cfg.run:
        code = run(cfg, results / "data")
    for entry in entries_of(cfg):
        print(draw_entry(cfg, entry, results), flush=True)
    if code:
        raise SystemExit(code)


def run(cfg: DictConfig, data: Path) -> int:
    """Run what is not done; return the exit code."""
    archives = None if cfg.keep is None else Path(cfg.keep)

    def watch(job: Job) -> None:
        if (job.folder / "metrics.csv").exists():
            target = place_of(data, job.task, job.system, job.seed)
            keep(job.folder / "metrics.csv", target, Record.of_run(job.folder))
        if archives is not None and job.done:
            job.archive(archives).unlink(missing_ok=True)
        elif archives is not None and (why := keep_run(job.folder, job.archive(archives))):
            print(f"not kept: {job}: {why}", flush=True)

    jobs = list(jobs_of(cfg))
    done = [job for job in jobs if job.done or job.done_elsewhere(data)]
    for job in done:
        print(f"done before: {job}", flush=True)
        if job.done:
            watch(job)
    runner = Runner(cfg.jobs, cfg.minutes, archives, watch)
    return runner([job for job in jobs if job not in done])


if __name__ == "__main__":
    main()
