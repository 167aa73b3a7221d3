"""Damage checkpoints as disks do, and count how many are refused before anything is loaded.

    python benchmarks/soak_damage.py

Every byte of every file gets one flipped bit; every file is cut at many lengths, lengthened, zeroed, removed, and
replaced by that of another checkpoint. A change of the seal's white space says the same as before and is no damage.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from torchrl_htrpo.records.sealed import SEAL, DamagedCheckpoint, SealedCheckpoint, check_seal


def main() -> None:
    """Damage, count, report."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    folder, since = Path(tempfile.mkdtemp()), time.monotonic()
    one, other = (_saved(folder / name) for name in ("one", "other"))
    done, noticed = Counter[str](), Counter[str]()
    for file in sorted(path for path in one.rglob("*") if path.is_file()):
        content = file.read_bytes()
        foreign = (other / file.relative_to(one)).read_bytes()
        for kind, damaged in _damages(content, foreign):
            if damaged == content or (file.name == SEAL and _says(damaged) == _says(content)):
                continue
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            done[kind] += 1
            noticed[kind] += _is_noticed(one)
            file.write_bytes(content)
    check_seal(one)
    figures = " ".join(f"{kind}={noticed[kind]}/{count}" for kind, count in done.items())
    print(f"RESULT {figures} seconds={time.monotonic() - since:.0f}")


def _saved(folder: Path) -> Path:
    net = torch.nn.Linear(16, 8)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 16)).sum().backward()
    optimizer.step()
    progress = {"steps": float(torch.rand(()))}
    return SealedCheckpoint(actor=net, optimizer=optimizer, progress=progress).save(folder)


def _damages(content: bytes, foreign: bytes) -> Iterator[tuple[str, bytes | None]]:
    dice = random.Random(0)
    for place in range(len(content)):
        flipped = content[place] ^ 1 << dice.randrange(8)
        yield "flipped", content[:place] + bytes([flipped]) + content[place + 1 :]
    for size in {0, 1, 8, *range(0, len(content), 64), len(content) - 1}:
        yield "cut", content[:size]
        yield "zeroed", content[:size] + bytes(len(content) - size)
    yield "lengthened", content + b"\0"
    yield "removed", None
    yield "swapped", foreign


def _says(content: bytes | None) -> object:
    try:
        return json.loads(content or b"")
    except ValueError:
        return None


def _is_noticed(folder: Path) -> bool:
    try:
        check_seal(folder)
    except DamagedCheckpoint:
        return True
    return False


if __name__ == "__main__":
    main()
