"""KV managers: who holds which KV blocks of a replica."""

from bros_sim.kv.parameters import (
    BidirectionalParameters,
    EagerCheckpointParameters,
    KunserveLikeParameters,
    KvParameters,
    PagedParameters,
    ReservedParameters,
)

KV_MANAGERS: dict[str, type[KvParameters]] = {
    "bidirectional": BidirectionalParameters,
    "eager_checkpoint": EagerCheckpointParameters,
    "kunserve_like": KunserveLikeParameters,
    "paged": PagedParameters,
    "reserved": ReservedParameters,
}
"""``kind`` in YAML -> its parameters; a new KV manager is one file and one line here."""
