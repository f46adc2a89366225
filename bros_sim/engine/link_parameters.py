"""The link between GPU and CPU memory: what copies of KV cost."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt


@dataclass(frozen=True)
class HostLink:
    """Bandwidth of a replica's link to its host, both ways at once (full duplex).

    Over all GPUs of the replica: KV is sharded, and each GPU has a link of its own.
    """

    to_gpu_gb_s: Annotated[float, Gt(0), Doc("host to device, 1e9 bytes/s over all GPUs")]
    to_cpu_gb_s: Annotated[float, Gt(0), Doc("device to host, 1e9 bytes/s over all GPUs")]
    latency_s: Annotated[float, Ge(0), Doc("fixed cost of a step's copies in one direction")] = 0.0

    def to_gpu_s(self, size: int) -> float:
        """Seconds to bring ``size`` bytes back; none for nothing."""
        return self.latency_s + size / (1e9 * self.to_gpu_gb_s) if size else 0.0

    def to_cpu_s(self, size: int) -> float:
        """Seconds to save ``size`` bytes; none for nothing."""
        return self.latency_s + size / (1e9 * self.to_cpu_gb_s) if size else 0.0
