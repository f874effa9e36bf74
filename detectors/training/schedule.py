"""How the rate rises and falls, and the mean of late weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear rise over `warmup` steps, then half a cosine down to zero at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class WeightAverage:
    """Exponential moving average of all weights and of the running statistics of batch normalisation.

    Where a network lies on several devices, weights are the same on all; statistics are averaged over them.
    """

    def __init__(self, network, decay: float):
        self._decay = decay
        named = network.collect_params().items()
        self._parameters = [p for name, p in named if p.grad_req != "null" or "_running_" in name]
        self._average = [p.list_data()[0].copy() for p in self._parameters]

    def update(self, step: int) -> None:
        """Young averages follow quickly, so that the first random weights are soon forgotten."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for average, parameter in zip(self._average, self._parameters, strict=True):
            copies = parameter.list_data() if parameter.grad_req == "null" else parameter.list_data()[:1]
            average *= decay
            for copy in copies:
                average += (1 - decay) / len(copies) * copy.as_in_context(average.context)

    def apply(self) -> None:
        """Put the averages into the network."""
        for average, parameter in zip(self._average, self._parameters, strict=True):
            parameter.set_data(average)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network with the averages, for a while; every device gets its own weights back."""
        kept = [[data.copy() for data in parameter.list_data()] for parameter in self._parameters]
        self.apply()
        try:
            yield
        finally:
            for copies, parameter in zip(kept, self._parameters, strict=True):
                for copy, data in zip(copies, parameter.list_data(), strict=True):
                    data[:] = copy

    def read(self) -> list[np.ndarray]:
        """The averages as float32 arrays, in the order of the network's parameters."""
        return [average.asnumpy() for average in self._average]

    def write(self, arrays: Sequence[np.ndarray]) -> None:
        """Put back what `read` gave."""
        for average, array in zip(self._average, arrays, strict=True):
            average[:] = array
