"""Start two runs of different seeds in one folder at once, and count rows that are not of the one that won.

    python benchmarks/soak_folder.py --tries 50

Every third pair starts at the same instant, in another third the second starts up to half a second later, and in the
rest a second process resumes the run while it runs. One must run as if it were alone; the other is refused and leaves
nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.recipes.runs import TINY, budget, metrics
from torchrl_htrpo.recipes import htrpo
from torchrl_htrpo.records.checkpoints import stored_checkpoints

SETTINGS = ("task=bitflip", *TINY["htrpo_bitflip"], budget("htrpo_bitflip", 4))
REFUSED = ("used by one process at a time", "a folder without checkpoints")


def main() -> None:
    """Race, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=50)
    folder, dice = Path(tempfile.mkdtemp()), random.Random(0)
    alone = []
    for seed in (0, 1):
        _end(_start(folder / f"alone{seed}", "hydra.run.dir=.", f"seed={seed}"))
        alone.append(metrics(folder / f"alone{seed}"))
    refused = mixed = bad = 0
    tries = parser.parse_args().tries
    for index in range(tries):
        place = folder / f"try{index}"
        ends = [_end(process) for process in _pair(index % 3, place / "run", dice)]
        won = [number for number, (code, _) in enumerate(ends) if code == 0]
        said = [text for code, text in ends if code == 1 and any(words in text for words in REFUSED)]
        fine = len(won) == 1 and len(said) == 1
        expected = alone[won[0]] if won and index % 3 != 2 else alone[0]
        found = metrics(place / "run") if (place / "run" / "metrics.csv").exists() else None
        refused, mixed, bad = refused + len(said), mixed + (found != expected), bad + (not fine)
        if found != expected or not fine:
            codes = [code for code, _ in ends]
            print(f"try {index}: exit codes {codes}", *(text[-600:] for _, text in ends), sep="\n", flush=True)
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(folder)
    print(f"RESULT tries={tries} refused={refused} mixed={mixed} other={bad}")


def _pair(kind: int, run: Path, dice: random.Random) -> list[tuple[int, Path]]:
    """Start two processes: at one instant, one after the other, or one that resumes the other."""
    where = run.parent
    at = time.time() + 0.2
    first = _start(where / "first", f"hydra.run.dir={run}", "seed=0", at=at)
    if kind == 2:
        while not stored_checkpoints(run):
            time.sleep(0.001)
        return [first, _start(where / "second", f"resume={run}", "hydra.run.dir=other", "seed=0")]
    later = dice.uniform(0, 0.5) if kind else 0.0
    return [first, _start(where / "second", f"hydra.run.dir={run}", "seed=1", at=at + later)]


def _start(folder: Path, *overrides: str, at: float = 0.0) -> tuple[int, Path]:
    """Run the recipe in a forked process in a folder, which gets what it says; return its id and the file."""
    folder.mkdir(parents=True)
    output = folder / "said.txt"
    return _forked(lambda: _recipe(folder, output, overrides, at)), output


def _recipe(folder: Path, output: Path, overrides: tuple[str, ...], at: float) -> None:
    os.chdir(folder)
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["htrpo.py", *SETTINGS, *overrides]
    time.sleep(max(at - time.time(), 0))
    htrpo.main()


def _forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def _end(process: tuple[int, Path]) -> tuple[int, str]:
    child, output = process
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output.read_text()


if __name__ == "__main__":
    main()
