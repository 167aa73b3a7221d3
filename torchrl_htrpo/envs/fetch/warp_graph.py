"""Record a fixed sequence of warp kernels as a CUDA graph, and replay it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import warp as wp


class Recorded:
    """A sequence of kernel launches on fixed buffers, ordered with torch's current stream.

    On the CPU every call launches the kernels. On CUDA the first call launches them (which compiles and loads them) and
    records the launches as a graph; later calls replay the graph with a single launch. ``launch`` must not wait for the
    device.
    """

    def __init__(self, launch: Callable[[], None], device: torch.device) -> None:
        self._launch = launch
        self._device = device
        self._graph: wp.Graph | None = None

    def __call__(self) -> None:
        """Run the sequence."""
        with wp.ScopedDevice(wp.device_from_torch(self._device)):  # device of the kernels' temporary arrays
            if self._device.type == "cuda":
                self._on_cuda(wp.stream_from_torch(torch.cuda.current_stream(self._device)))
            else:
                self._launch()

    def _on_cuda(self, stream: wp.Stream) -> None:
        if self._graph is not None:
            wp.capture_launch(self._graph, stream=stream)
            return
        with wp.ScopedStream(stream):
            self._launch()
        wp.synchronize_device(stream.device)
        # Record on warp's own stream: torch's default stream (CUDA's null stream) cannot be captured.
        with wp.ScopedCapture(stream.device) as capture:
            self._launch()
        self._graph = capture.graph
