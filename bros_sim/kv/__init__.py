"""KV managers: who holds which KV blocks of a replica."""

from bros_sim.engine.kv_cache import KVManager
from bros_sim.kv.bidirectional import BidirectionalKV
from bros_sim.kv.eager_checkpoint import EagerCheckpointKV
from bros_sim.kv.kunserve_like import KunserveLikeKV
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.reserved import ReservedKV

KV_MANAGERS: dict[str, type[KVManager]] = {
    "bidirectional": BidirectionalKV,
    "eager_checkpoint": EagerCheckpointKV,
    "kunserve_like": KunserveLikeKV,
    "paged": PagedKV,
    "reserved": ReservedKV,
}
"""``kind`` in YAML -> class; a new KV manager is one file and one line here."""
