"""Data sheets of GPUs, for profiles of cards and models that were not measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Gt, MinLen

from bros_sim.config import decode, read_yaml
from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError
from bros_sim.profiles.profile import Gpu, Host

Positive = Annotated[float, Gt(0)]
HOST_LATENCY_S = 1e-5
HOST_KV_GIB = 64.0  # CPU memory for KV that a host is taken to have, for each GPU


@dataclass(frozen=True)
class GpuFacts:
    """One card. Peaks are those of the data sheet, dense, for fp16 and bf16."""

    id: Annotated[Annotated[str, MinLen(1)], Doc("first part of profile ids")]
    name: Annotated[str, MinLen(1)]
    memory_gib: Annotated[Positive, Doc("what the driver reports as total")]
    bandwidth_gb_s: Annotated[Positive, Doc("memory bandwidth, 1e9 bytes/s")]
    peak_tflops: Annotated[Positive, Doc("matrix units, dense fp16 with fp32 sums")]
    peer_gb_s: Annotated[Positive, Doc("to the other GPUs of the host, each way: NVLink or PCIe")]
    host_gb_s: Annotated[Positive, Doc("copies to and from CPU memory, each way, as expected")]
    source: Annotated[str, MinLen(1), Doc("of bandwidth, peak rate and NVLink")] = (
        "data sheet of the card"
    )

    def gpu(self) -> Gpu:
        """As profiles hold it."""
        return Gpu(self.name, self.memory_gib, self.bandwidth_gb_s)

    def host(self, tp: int) -> Host:
        """CPU memory for KV of ``tp`` cards and their link to it."""
        link = tp * self.host_gb_s
        basis = f"inferred, not measured: {self.host_gb_s:g} GB/s in each direction, for each of "
        basis += f"the {tp} GPU(s); 10 us to start the copies of a step; CPU memory for KV: "
        basis += f"{HOST_KV_GIB:g} GiB for each GPU"
        return Host(link, link, HOST_LATENCY_S, tp * HOST_KV_GIB, basis)


_RTX_PRO_6000 = "NVIDIA RTX PRO 6000 Blackwell Server Edition"
_A100 = "NVIDIA A100 data sheet (2021)"
_H100 = "NVIDIA H100 data sheet (2022)"
_H20 = "NVIDIA H20 as vendors specify it: there is no public data sheet of NVIDIA"
_ADA = "NVIDIA Ada GPU architecture white paper 2.02 (2023)"
_CARDS = (
    GpuFacts("a100-40gb", "NVIDIA A100-SXM4-40GB", 39.39, 1555, 312, 300, 25, _A100),
    GpuFacts("a100-80gb", "NVIDIA A100-SXM4-80GB", 79.25, 2039, 312, 300, 25, _A100),
    GpuFacts("h100-80gb", "NVIDIA H100-SXM5-80GB", 79.19, 3352, 989, 450, 50, _H100),
    # Without the optional NVLink bridge of two cards (300 GB/s each way).
    GpuFacts("h100-pcie-80gb", "NVIDIA H100-PCIe-80GB", 79.19, 2039, 756, 50, 50, _H100),
    GpuFacts(
        "h200-141gb", "NVIDIA H200-SXM5-141GB", 139.81, 4800, 989, 450, 50,
        "NVIDIA H200 data sheet (2024)",
    ),
    GpuFacts("h20-96gb", "NVIDIA H20-SXM5-96GB", 95.0, 4000, 148, 450, 50, _H20),
    # The driver reports a memory bus of 7,680 bits, 7,672 GB/s (github.com/pytorch/ao/pull/4002).
    GpuFacts(
        "b200-180gb", "NVIDIA B200-SXM-180GB", 178.35, 8000, 2250, 900, 50,
        "NVIDIA DGX B200 data sheet (2024), an eighth",
    ),
    GpuFacts("l40s-48gb", "NVIDIA L40S-48GB", 44.39, 864, 362, 25, 25, "NVIDIA L40S data sheet"),
    GpuFacts("l4-24gb", "NVIDIA L4-24GB", 22.17, 300, 121, 25, 25, "NVIDIA L4 data sheet"),
    GpuFacts("a10-24gb", "NVIDIA A10-24GB", 22.06, 600, 125, 25, 25, "NVIDIA A10 data sheet"),
    GpuFacts("rtx4090", "NVIDIA GeForce RTX 4090", 23.52, 1008, 165.2, 25, 25, _ADA),
    GpuFacts(
        "rtxpro6000", _RTX_PRO_6000, 95.59, 1597, 503.8, 50, 50,
        "NVIDIA RTX Blackwell PRO GPU architecture white paper (2025)",
    ),
)  # fmt: skip
"""Of sparse rates the data sheets' half is taken."""
KNOWN_GPUS: Mapping[str, GpuFacts] = {card.id: card for card in _CARDS}  # id -> facts


def find_gpu(id_or_path: str) -> GpuFacts:
    """A card known by its id, or one's own in a YAML file with the fields of ``GpuFacts``."""
    if id_or_path.endswith((".yaml", ".yml")):
        return decode(GpuFacts, read_yaml(Path(id_or_path)))
    if id_or_path not in KNOWN_GPUS:
        raise InputError(
            f"--gpu {id_or_path}: there is no such GPU{nearest(id_or_path, KNOWN_GPUS)}"
            "; or give a .yaml file with its data sheet"
        )
    return KNOWN_GPUS[id_or_path]
