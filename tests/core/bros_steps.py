"""A BROS replica, step by step."""

from simulations import make_replica, make_request

from bros_sim.core.request import ServiceClass, Slo
from bros_sim.engine.engine import Engine
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear
from bros_sim.schedulers.bros.parameters import BrosParameters
from bros_sim.schedulers.bros.scheduler import BrosScheduler

RT, BE = ServiceClass.RT, ServiceClass.BE
PER_TOKEN = Linear(prefill_per_token_ms=1.0, decode=DecodeLine(const_ms=10.0)).make()
"""A prompt token costs 1 ms, a decode iteration 10 ms."""


def bros(**parameters) -> BrosScheduler:
    return BrosScheduler(BrosParameters(**({"overhead_share": 0.0, "watermark": 0.0} | parameters)))


def replica_with(scheduler=None, kv=None, **parts) -> Engine:
    kv = kv or PagedKV(PagedParameters(num_gpu_blocks=1001, enable_prefix_caching=False))
    defaults = {"scheduler": scheduler or bros(), "kv": kv, "latency": PER_TOKEN}
    return make_replica(**(defaults | parts))


def submit(
    replica: Engine, number: int, *, ttft=10.0, tpot=10.0, cls=RT, at=0.0, **shape
) -> Sequence:
    slo = Slo(ttft, tpot) if cls is RT else Slo()
    request = make_request(number, arrival_s=at, service_class=cls, slo=slo, **shape)
    seq = Sequence(number, request, at)
    assert replica.submit(seq) is None
    return seq


def step(replica: Engine, now: float) -> tuple[list[int], float]:
    """Who is in the next batch (decodes included), and when it ends."""
    replica.begin(now)
    end_s = replica.due
    plan = replica.plan
    decoding = [seq.id for seq in replica.batch if seq.decoding]
    replica.proceed(end_s)
    return sorted([seq.id for seq, _ in plan.chunks] + decoding), end_s
