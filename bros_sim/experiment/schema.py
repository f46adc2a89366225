"""What an experiment file may hold: the YAML's shape, checked strictly, and its JSON schema."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Len
from pydantic import BaseModel, Field, create_model, model_validator

from bros_sim.cluster.routers import ROUTERS
from bros_sim.cluster.routers.base import RouterParameters
from bros_sim.config.components import Kinds, Record, Strict, key, model_of
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
    "schedulers": SCHEDULERS, "kv": KV_MANAGERS, "routers": ROUTERS, "arrivals": ARRIVALS,
    "lengths": LENGTHS, "max_tokens": MAX_TOKENS, "latency": LATENCY_MODELS,
}  # fmt: skip
"""Every table of components, by the name that `bros-sim list` knows it by."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Title = Annotated[str, Len(1, 80)]


Router = Annotated[Any, Kinds("router", ROUTERS, RouterParameters)]


def stated(what: str) -> Any:  # noqa: ANN401 - as pydantic.Field
    """A field that is part of the plain data, and so of a result's key, only where it is set."""
    return key(what, None, exclude_if=lambda value: value is None)


class Stream(Strict):
    """One stream of requests."""

    service_class: ServiceClass = key("rt or be", alias="class")
    arrivals: Annotated[Any, Kinds("arrival process", ARRIVALS, Arrivals)]
    lengths: Annotated[Any, Kinds("length distribution", LENGTHS)] | None = key(
        "may be left out where the arrivals bring their own (replay, twin)", None
    )
    slo: Annotated[Slo, Record(Slo)] = key("", Slo)
    max_tokens: Annotated[Any, Kinds("rule for max_tokens", MAX_TOKENS)] = key(
        "the cap that a client states", MAX_TOKENS["headroom"]
    )
    system_prompt_tokens: int = key(
        "tokens before every prompt, the same ones in all of them", 0, ge=0, le=10**9
    )
    refrag: Annotated[Refrag, Record(Refrag)] | None = key(
        "retrieved context that is compressed (arXiv 2509.01092)", None
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

    replicas: int = key("engines, each on its own GPU(s)", 1, ge=1, le=10_000)
    profile: str = key("id of a shipped profile, or path of your own (.yaml)", DEFAULT_PROFILE)
    router: Router = key("which replica takes a request", ROUTERS["round_robin"])
    num_gpu_blocks: int | None = key("KV blocks of a replica; default: the profile's", None, ge=2)
    max_model_len: int | None = key(
        "most tokens of prompt and output; default: the model's", None, ge=2
    )
    over_model_len: Literal["reject", "cut"] | None = stated(
        "what becomes of a longer request: rejected, as vLLM does, which is the default, or its"
        " output cut to what its prompt leaves"
    )


Latency = Annotated[Any, KINDS]


class Belief(Strict):
    """What the scheduler believes an iteration to cost."""

    latency: Latency | None = key(
        "the scheduler's own latency model; default: the one that is true", None
    )
    bias: float = key("factor on every estimated iteration time", 1.0, gt=0)
    noise: float = key(
        "standard deviation of the log of a random factor per shape", 0.0, ge=0, le=2
    )


class System(Strict):
    """What is compared: a scheduler and the KV manager that it works with."""

    scheduler: Annotated[Any, Kinds("scheduler", SCHEDULERS, SchedulerParameters)]
    kv: Annotated[Any, Kinds("KV manager", KV_MANAGERS, KvParameters)]
    estimate: Belief = key(
        "what the scheduler believes of iteration times; default: the truth", Belief
    )


class Compared(System):
    """A system as an experiment names it."""

    router: Router | None = key("this system's own router; default: that of the cluster", None)


class Outputs(Strict):
    """What is stored or measured besides; changes no result of a point."""

    decisions: bool = key("log who ran and who did not, and why, for `bros-sim explain`", False)
    tables: Literal["parquet", "csv"] = key(
        "csv: write the tables of each point as CSV beside the Parquet files", "parquet"
    )
    be_retention: bool = key("run the BE-only baseline of each point as well", False)


class Run(Strict):
    """All that one point needs, but for its system."""

    seed: int = key("", 0, ge=0, lt=2**63)
    duration_s: float = key("requests arrive for so long", ge=1e-6, lt=HORIZON_S)
    warmup_s: Annotated[float, Ge(0)] | Literal["mser5"] = key(
        "start of the window that metrics look at; mser5: found by that rule", 0.0
    )
    drain_s: float = key("longest time to finish what arrived", 600.0, ge=0)
    cluster: Cluster = key("", Cluster)
    latency: TruthField | None = key(
        "default: the profile's; a lone kind takes its coefficients; beside it, or alone:"
        " uncertainty, draws, noise",
        None,
    )
    workload: dict[Name, Stream] = key("named streams of requests", min_length=1)

    @model_validator(mode="after")
    def _times(self) -> "Run":
        if isinstance(self.warmup_s, float) and self.warmup_s >= self.duration_s:
            raise ValueError("warmup_s should be less than duration_s")
        if self.duration_s + self.drain_s >= HORIZON_S:
            what = f"duration_s + drain_s should be less than {HORIZON_S:.0f} s (48 days)"
            raise ValueError(what)
        return self


class PointSpec(Run):
    """What is run at one point; a result's resolved.yaml."""

    system: System


class Experiment(Run):
    """An experiment file."""

    name: Name = key("results go to results/<name>")
    systems: dict[Title, Compared] = key("what is compared, by name", min_length=1)
    sweep: Sweep = key("", Sweep)
    outputs: Outputs = key("", Outputs)
    figures: list[Any] = key("figures to draw; `bros-sim list plots` says which", list)


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
