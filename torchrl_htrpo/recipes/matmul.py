"""Select the CPU matmul backend."""

from __future__ import annotations

import torch
from torch import Tensor


def use_onednn(tolerance: float = 1e-6) -> bool:
    """Use oneDNN for float32 matrix products on the CPU, if it computes them in float32; return whether it is in use.

    On x86 PyTorch uses MKL, which does not use AVX-512 on AMD's processors; on one of them oneDNN was 1.4 to 2.1 times
    faster (``docs/performance.md``). The PyTorch setting that selects oneDNN also allows bfloat16 on processors with
    matrix units. So the function measures the error of the products of a layer, and restores the setting if one is
    not exact to float32 (a relative error of about 3e-7; bfloat16 has 3e-3). The setting is global to the process and
    does not affect accelerators.
    """
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if settings is None or not torch.backends.mkldnn.is_available():
        return False
    before, settings.fp32_precision = settings.fp32_precision, "bf16"
    if product_error() <= tolerance:
        return True
    settings.fp32_precision = before
    return False


def product_error(size: int = 256) -> float:
    """Largest relative error of the float32 products of a layer of ``size`` units: forward, and both gradients."""
    generator = torch.Generator().manual_seed(0)
    rows, slopes = torch.randn(2, 4 * size, size, generator=generator)
    weight = torch.randn(size, size, generator=generator)
    products = ((rows, weight.t()), (slopes, weight), (slopes.t(), rows))
    return max(_relative(torch.mm(a, b), a.double() @ b.double()) for a, b in products)


def _relative(found: Tensor, exact: Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()
