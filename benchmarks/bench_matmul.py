"""Measure rate and error of float32 linear layers on the CPU: MKL (PyTorch's default on x86) and oneDNN.

CPU time of this process on one thread, the best of several repeats, the two in turns.

    python benchmarks/bench_matmul.py

Output: a MACHINE line, ``FIGURE mkl_<rows>x<in>x<out> GFLOP/s error``, and ``RATIO onednn_over_mkl_<shape> value``.
"""

from __future__ import annotations

import sys
import time

import torch
from push_batch import machine
from torch import Tensor

from torchrl_htrpo.recipes.matmul import use_onednn

SHAPES = ((8192, 256, 256), (4096, 256, 256), (4096, 28, 256), (2048, 256, 256), (64, 256, 256))


def main() -> None:
    """Print the lines."""
    torch.set_num_threads(1)
    sys.stdout.write(machine() + "\n")
    settings = torch.backends.mkldnn.matmul
    for rows, inputs, outputs in SHAPES:
        torch.manual_seed(0)
        x, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
        best, errors = {"mkl": 0.0, "onednn": 0.0}, {}
        for name in ("mkl", "onednn") * 5:
            settings.fp32_precision = "ieee"
            if name == "onednn" and not use_onednn():
                continue
            best[name] = max(best[name], rate(x, weight, bias))
            errors[name] = error(x, weight, bias)
        shape = f"{rows}x{inputs}x{outputs}"
        for name, each in errors.items():
            sys.stdout.write(f"FIGURE {name}_{shape} {best[name] / 1e9:.0f} GFLOP/s, error {each:.1e}\n")
        sys.stdout.write(f"RATIO onednn_over_mkl_{shape} {best['onednn'] / best['mkl']:.2f}\n")


def rate(x: Tensor, weight: Tensor, bias: Tensor) -> float:
    """FLOP per CPU second."""
    flop = 2 * x.shape[0] * weight.numel()
    repeats = max(1, int(5e9 / flop))
    start = time.process_time()
    for _ in range(repeats):
        torch.nn.functional.linear(x, weight, bias)
    return repeats * flop / (time.process_time() - start)


def error(x: Tensor, weight: Tensor, bias: Tensor) -> float:
    """Relative to float64."""
    exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    return ((torch.nn.functional.linear(x, weight, bias) - exact).norm() / exact.norm()).item()


if __name__ == "__main__":
    main()
