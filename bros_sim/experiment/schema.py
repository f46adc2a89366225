"""What an experiment file may hold: the YAML's shape, checked strictly, and its JSON schema."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Len
from pydantic import BaseModel, Field, create_model, model_validator

from bros_sim.cluster.routers import ROUTERS
from bros_sim.cluster.routers.base import RouterParameters
from bros_sim.config.components import Kinds, Record, Strict, model_of
from bros_sim.config.messages import MISSING, invalid
from bros_sim.core.clock import HORIZON_S
from bros_sim.core.errors import Code
from bros_sim.core.request import ServiceClass, Slo
from bros_sim.experiment.sweep import Sweep
from bros_sim.experiment.truth import KINDS, TruthField
from bros_sim.kv import KV_MANAGERS
from bros_sim.kv.parameters import KvParameters
from bros_sim.latency import LATENCY_MODELS
from bros_sim.profiles.profile import DEFAULT_PROFILE
from bros_sim.schedulers import SCHEDULERS
from bros_sim.schedulers.parameters import SchedulerParameters
from bros_sim.workload import ARRIVALS, LENGTHS, MAX_TOKENS
from bros_sim.workload.arrivals import Arrivals
from bros_sim.workload.prompts import Refrag

TABLES: Mapping[str, Mapping[str, type]] = {
    "schedulers": SCHEDULERS,
    "kv": KV_MANAGERS,
    "routers": ROUTERS,
    "arrivals": ARRIVALS,
    "lengths": LENGTHS,
    "max_tokens": MAX_TOKENS,
    "latency": LATENCY_MODELS,
}
"""Every table of components, by the name that `bros-sim list` knows it by."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Title = Annotated[str, Len(1, 80)]


class Stream(Strict):
    """One stream of requests."""

    service_class: ServiceClass = Field(alias="class", description="rt or be")
    arrivals: Annotated[Any, Kinds("arrival process", ARRIVALS, Arrivals)]
    lengths: Annotated[Any, Kinds("length distribution", LENGTHS)] | None = Field(
        None, description="may be left out where the arrivals bring their own (replay, twin)"
    )
    slo: Annotated[Slo, Record(Slo)] = Field(default_factory=Slo)
    max_tokens: Annotated[Any, Kinds("rule for max_tokens", MAX_TOKENS)] = Field(
        default_factory=MAX_TOKENS["headroom"], description="the cap that a client states"
    )
    system_prompt_tokens: int = Field(
        0, ge=0, le=10**9, description="tokens before every prompt, the same ones in all of them"
    )
    refrag: Annotated[Refrag, Record(Refrag)] | None = Field(
        None, description="retrieved context that is compressed (arXiv 2509.01092)"
    )

    @model_validator(mode="after")
    def _has_lengths(self) -> "Stream":
        if self.lengths is None and not self.arrivals.brings_lengths:
            raise invalid(("lengths",), MISSING, Code.MISSING_KEY)
        return self

    @model_validator(mode="after")
    def _has_one_deadline(self) -> "Stream":
        if self.slo.e2e_s is not None and self.arrivals.own_deadline_s is not None:
            raise invalid(("slo", "e2e_s"), "the bag's deadline_s says this already; give one")
        return self


class Cluster(Strict):
    """Like replicas behind a router."""

    replicas: int = Field(1, ge=1, le=10_000, description="engines, each on its own GPU(s)")
    profile: str = Field(
        DEFAULT_PROFILE, description="id of a shipped profile, or path of your own (.yaml)"
    )
    router: Annotated[Any, Kinds("router", ROUTERS, RouterParameters)] = Field(
        default_factory=ROUTERS["round_robin"], description="which replica takes a request"
    )
    num_gpu_blocks: int | None = Field(
        None, ge=2, description="KV blocks of a replica; default: the profile's"
    )
    max_model_len: int | None = Field(
        None, ge=2, description="most tokens of prompt and output; default: the model's"
    )


Latency = Annotated[Any, KINDS]


class Belief(Strict):
    """What the scheduler believes an iteration to cost."""

    latency: Latency | None = Field(
        None, description="the scheduler's own latency model; default: the one that is true"
    )
    bias: float = Field(1.0, gt=0, description="factor on every estimated iteration time")
    noise: float = Field(
        0.0, ge=0, le=2, description="standard deviation of the log of a random factor per shape"
    )


class System(Strict):
    """What is compared: a scheduler and the KV manager that it works with."""

    scheduler: Annotated[Any, Kinds("scheduler", SCHEDULERS, SchedulerParameters)]
    kv: Annotated[Any, Kinds("KV manager", KV_MANAGERS, KvParameters)]
    estimate: Belief = Field(
        default_factory=lambda: Belief.model_validate({}),
        description="what the scheduler believes of iteration times; default: the truth",
    )


class Compared(System):
    """A system as an experiment names it."""

    router: Annotated[Any, Kinds("router", ROUTERS, RouterParameters)] | None = Field(
        None, description="this system's own router; default: that of the cluster"
    )


class Outputs(Strict):
    """What is stored or measured besides; changes no result of a point."""

    decisions: bool = Field(
        False, description="log who ran and who did not, and why, for `bros-sim explain`"
    )
    tables: Literal["parquet", "csv"] = Field(
        "parquet", description="csv: write the tables of each point as CSV beside the Parquet files"
    )
    be_retention: bool = Field(False, description="run the BE-only baseline of each point as well")


class Run(Strict):
    """All that one point needs, but for its system."""

    seed: int = Field(0, ge=0, lt=2**63)
    duration_s: float = Field(ge=1e-6, lt=HORIZON_S, description="requests arrive for so long")
    warmup_s: Annotated[float, Ge(0)] | Literal["mser5"] = Field(
        0.0, description="start of the window that metrics look at; mser5: found by that rule"
    )
    drain_s: float = Field(600.0, ge=0, description="longest time to finish what arrived")
    cluster: Cluster = Field(default_factory=lambda: Cluster.model_validate({}))
    latency: TruthField | None = Field(
        None,
        description="default: the profile's; a lone kind takes its coefficients; beside it, or"
        " alone: uncertainty, draws, noise",
    )
    workload: dict[Name, Stream] = Field(min_length=1, description="named streams of requests")

    @model_validator(mode="after")
    def _times(self) -> "Run":
        if isinstance(self.warmup_s, float) and self.warmup_s >= self.duration_s:
            raise ValueError("warmup_s should be less than duration_s")
        if self.duration_s + self.drain_s >= HORIZON_S:
            raise ValueError(
                f"duration_s + drain_s should be less than {HORIZON_S:.0f} s (48 days)"
            )
        return self


class PointSpec(Run):
    """What is run at one point; a result's resolved.yaml."""

    system: System


class Experiment(Run):
    """An experiment file."""

    name: Name = Field(description="results go to results/<name>")
    systems: dict[Title, Compared] = Field(min_length=1, description="what is compared, by name")
    sweep: Sweep = Field(default_factory=lambda: Sweep.model_validate({}))
    outputs: Outputs = Field(default_factory=lambda: Outputs.model_validate({}))
    figures: list[Any] = Field(
        default_factory=list, description="figures to draw; `bros-sim list plots` says which"
    )


def router_of(spec: Experiment, system: str) -> RouterParameters:
    """The router of a system: its own, else that of the cluster."""
    own = spec.systems[system].router
    router: RouterParameters = spec.cluster.router if own is None else own
    return router


def json_schema(plots: Mapping[str, type]) -> dict[str, Any]:
    """The JSON schema of an experiment file, for editors; ``plots``: kind of figure -> its keys."""
    entry: Any = Union[tuple(_entry(plot, cls) for plot, cls in plots.items())]  # noqa: UP007
    field: Any = (list[entry], Field(default_factory=list))
    whole = create_model("Experiment", __base__=Experiment, figures=field)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole.model_json_schema(by_alias=True),
        "title": "bros-sim experiment",
    }


def _entry(plot: str, cls: type) -> type[BaseModel]:
    doc = (cls.__doc__ or "").partition("\n")[0]
    fields: dict[str, Any] = {"plot": (Literal[plot], ...)}
    return create_model(cls.__name__, __base__=model_of(cls), __doc__=doc, **fields)
