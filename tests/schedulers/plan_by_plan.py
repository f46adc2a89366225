"""A replica plan by plan: who computes how many tokens, who decodes, who had to leave or wait."""

from types import SimpleNamespace

from simulations import make_replica, make_request

from bros_sim.core.request import ServiceClass, Slo
from bros_sim.engine.decision_log import DecisionLog
from bros_sim.engine.engine import Engine
from bros_sim.engine.record import RunLog
from bros_sim.engine.sequence import Sequence
from bros_sim.kv.paged import PagedKV
from bros_sim.kv.parameters import PagedParameters
from bros_sim.latency.parameters import DecodeLine, Linear

RT, BE = ServiceClass.RT, ServiceClass.BE
PER_TOKEN = Linear(
    prefill_per_token_ms=1.0, decode=DecodeLine(const_ms=10.0, per_seq_ms=1.0, per_kv_token_ms=0.0)
).make()
"""A prompt token costs 1 ms; n decodes cost 10 + n ms."""


class Scripted:
    """A scheduler on a replica; every request is known by a number."""

    def __init__(self, scheduler, *, kv=None, blocks=4000, **parts) -> None:
        kv = kv or PagedKV(PagedParameters(num_gpu_blocks=blocks + 1, enable_prefix_caching=False))
        log = RunLog(decisions=DecisionLog())  # every iteration is planned
        parts = {"latency": PER_TOKEN, "max_model_len": 40_000} | parts
        self.replica: Engine = make_replica(log, scheduler=scheduler, kv=kv, **parts)
        self.scheduler, self.kv = self.replica.scheduler, self.replica.kv
        self.now = 0.0

    def submit(self, number, prompt, output=50, *, cls=RT, at=None, prefix=(), **slo) -> Sequence:
        at = self.now if at is None else at
        request = make_request(
            number,
            arrival_s=at,
            prompt=prompt,
            output=output,
            service_class=cls,
            slo=Slo(**slo),
            prefix=prefix,
        )
        seq = Sequence(number, request, at)
        assert self.replica.submit(seq) is None
        return seq

    def plan(self, at=None) -> SimpleNamespace:
        """The next iteration: tokens of each chunk, who decodes, who left, and its seconds."""
        self.now = self.now if at is None else at
        self.replica.begin(self.now)
        end_s = self.replica.due
        made = self.replica.plan
        decodes = sorted(seq.id for seq in self.replica.batch if seq.decoding)
        self.replica.proceed()
        took, self.now = end_s - self.now, end_s
        return SimpleNamespace(
            chunks={seq.id: tokens for seq, tokens in made.chunks},
            cached={seq.id: tokens for seq, tokens in made.admitted},
            decodes=decodes,
            evicted=[seq.id for seq in made.evicted],
            paused=sorted(seq.id for seq in made.paused),
            why={note.seq.id: note.reason for note in made.notes},
            seconds=round(took, 6),
        )
