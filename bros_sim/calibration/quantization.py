"""How a checkpoint stores its weights: ``quantization_config`` of a ``config.json``."""

import math
from dataclasses import dataclass

from bros_sim.calibration.files import Count, Foreign


@dataclass(frozen=True)
class Storage:
    """Bits of a value of the layers' matrices, scales and zero points included.

    Embeddings, LM head, norms, biases and routers keep the type of the model.
    """

    name: str
    bits: float
    experts_only: bool = False


class _Weights(Foreign):
    num_bits: Count = 8
    type: str = "int"
    group_size: int | None = None
    symmetric: bool = True


class _Group(Foreign):
    weights: _Weights | None = None


class Quantization(Foreign):
    """The keys of ``quantization_config`` that say how large weights are."""

    quant_method: str
    bits: Count | None = None
    w_bit: Count | None = None
    group_size: int | None = None
    q_group_size: int | None = None
    load_in_8bit: bool = False
    weight_block_size: list[Count] | None = None
    config_groups: dict[str, _Group] | None = None

    def storage(self) -> Storage | None:
        """What the method stores; None: it is not known here."""
        match self.quant_method:
            case "fp8" | "fbgemm_fp8":
                block = math.prod(self.weight_block_size or ())
                return Storage("FP8", 8 + (FP32 / block if block > 1 else 0))
            case "mxfp4":
                return Storage("MXFP4", 4 + 8 / 32, experts_only=True)
            case "gptq" | "awq":
                bits = self.bits or self.w_bit or 4
                scales = _per_group(FP16 + bits, self.group_size or self.q_group_size)
                return Storage(f"{self.quant_method.upper()} INT{bits}", bits + scales)
            case "bitsandbytes":
                bits = 8 if self.load_in_8bit else 4
                return Storage(f"bitsandbytes {bits} bits", bits + (0 if bits == 8 else FP32 / 64))
            case "compressed-tensors":
                groups = (self.config_groups or {}).values()
                return _packed([group.weights for group in groups if group.weights])
            case _:
                return None


METHODS = ("awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "mxfp4")
"""Those that `Quantization.storage` knows."""
FP16, FP32 = 16, 32  # bits of a scale


def _packed(groups: list[_Weights]) -> Storage | None:
    """Of compressed-tensors; of several schemes in one model the widest."""
    if not groups:
        return None
    widest = max(groups, key=lambda group: group.num_bits)
    bits = widest.num_bits
    scale = 8 if (widest.type, bits) == ("float", 4) else FP16  # FP4 has FP8 scales
    zero_points = 0 if widest.symmetric else bits
    name = f"{'FP' if widest.type == 'float' else 'INT'}{bits}"
    return Storage(name, bits + _per_group(scale + zero_points, widest.group_size))


def _per_group(bits: float, group_size: int | None) -> float:
    """Bits a value of what each group has once; whole rows (-1, none) have next to nothing."""
    return bits / group_size if group_size and group_size > 0 else 0.0
