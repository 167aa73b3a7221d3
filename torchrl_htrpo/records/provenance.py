"""Provenance of a result: versions, commit, machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

_LIBRARIES = (
    "torchrl_htrpo",
    "torch",
    "torchrl",
    "tensordict",
    "numpy",
    "mujoco",
    "mujoco_warp",
    "gymnasium",
    "gymnasium_robotics",
    "ale_py",
)


def versions() -> dict[str, str]:
    """Get the versions of Python and of the libraries that this process has loaded.

    Example:
        >>> sorted(versions().keys() & {"python", "torch", "torchrl"})
        ['python', 'torch', 'torchrl']
    """
    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in _LIBRARIES}
    return {"python": platform.python_version(), **{name: str(value) for name, value in loaded.items() if value}}


def commit() -> str | None:
    """Get the git commit of the library's folder, with ``-dirty`` if files differ; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def machine() -> dict[str, str | int]:
    """Processor, cores, threads and GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "usable_cores": cores,
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def provenance() -> dict[str, object]:
    """Get versions, commit and machine as JSON values."""
    return {"versions": versions(), "commit": commit(), "machine": machine()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
