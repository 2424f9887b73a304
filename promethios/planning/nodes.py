"""Machines to train on: what a GPU holds and how fast published trainings run on it.

Peaks are dense bf16 (fp16 on V100) from NVIDIA's data sheets, memory is what CUDA reports, model FLOPs utilisation
(MFU) is what trainings of 3 to 8 B parameters reached: README.md names the sources.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from promethios.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One GPU, or for `cpu` one process on the machine.

    memory_bytes: None where it is not known. peak_flops: dense, of the 16-bit format, a second; for `cpu` what
    training really reached. mfu: typical and best published share of the peak; empty where no source was found.
    """

    name: str
    memory_bytes: int | None
    peak_flops: float
    mfu: tuple[float, ...] = ()
    has_bf16: bool = True

    @property
    def is_gpu(self) -> bool:
        """False for `cpu`."""
        return self.name != "cpu"


ACCELERATORS: Final = {
    accelerator.name: accelerator
    for accelerator in (
        Accelerator("a100-40gb", 42_400_000_000, 312e12, (0.40, 0.509)),
        Accelerator("a100-80gb", 85_000_000_000, 312e12, (0.40, 0.642)),
        Accelerator("h100-80gb", 85_000_000_000, 989e12, (0.33, 0.464)),
        Accelerator("h200-141gb", 149_200_000_000, 989e12, (0.33, 0.464)),
        Accelerator("v100-32gb", 34_000_000_000, 125e12, has_bf16=False),
        Accelerator("cpu", None, 0.16e12),
    )
}
GPUS_PER_NODE: Final = 8
SHOWN_NODES: Final = ("8xa100-40gb", "8xa100-80gb", "8xh100-80gb")
MEMORY_RESERVE: Final = 2_000_000_000
"""Of a GPU, for the CUDA context and NCCL, which no allocator counts."""
FRAGMENTATION: Final = 0.05
"""Share of the rest that the caching allocator cannot give out in the sizes that are asked for."""


@dataclass(frozen=True, slots=True)
class Node:
    """`count` accelerators of one kind, each with one process."""

    name: str
    accelerator: Accelerator
    count: int

    @property
    def usable_bytes(self) -> int | None:
        """Memory of one accelerator that tensors can fill; None where it is not known."""
        memory = self.accelerator.memory_bytes
        return None if memory is None else int((memory - MEMORY_RESERVE) * (1 - FRAGMENTATION))

    @property
    def machines(self) -> int:
        """How many machines that is, at eight GPUs each."""
        return -(-self.count // GPUS_PER_NODE) if self.accelerator.is_gpu else 1


def parse_node(name: str) -> Node:
    """Return a node shape, `8xa100-40gb` or `cpu`. Raises ConfigError with what is allowed."""
    match = re.fullmatch(r"(?:([1-9]\d{0,4})x)?(.+)", name.lower())
    kind = match[2] if match else name
    if match is None or kind not in ACCELERATORS:
        raise ConfigError(
            f"--node {name}: unknown accelerator {kind!r}{nearest(kind, ACCELERATORS)}; give COUNTxACCELERATOR, for "
            "example 8xa100-40gb, or cpu"
        )
    count = int(match[1] or 1)
    return Node(name.lower() if match[1] or kind == "cpu" else f"1x{kind}", ACCELERATORS[kind], count)
