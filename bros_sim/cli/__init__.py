"""The command line: a table of verbs, each a thin program over the package."""

import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from bros_sim.cli.verbs import MARKUP, RootGroup, Verb, Verbs
from bros_sim.core.version import VERSION

__all__ = ["app", "main"]

# fmt: off
PROFILE = {
    "list": Verb("profiles:list_profiles",
      "List the shipped profiles: label, KV blocks and fit error."),
    "show": Verb("profiles:show",
      "Print all facts of a profile; optionally draw what iterations cost."),
    "plan": Verb("steps:plan",
      "Write the batches that `vllm bench forward --shapes` or `profile measure` will time."),
    "measure": Verb("steps:measure",
      "Time batches of a model with random weights and a paged KV cache on this machine."),
    "import": Verb("steps:import_results",
      "Read results of vLLM's benchmarks, GuideLLM, AIPerf, or layer tables into one CSV."),
    "fit-runs": Verb("run_fits:fit",
      "Fit a profile's engine terms to recorded runs, and judge it on others."),
    "fit": Verb("profiles:fit", "Fit a latency model to measured steps and write it as a profile."),
    "derive": Verb("profiles:derive",
      "Derive a profile from kernel tables of the GPU or, without these, from its data sheet."),
    "check": Verb("profiles:check",
      "Check profiles: structure, units, physical sense, and their stated errors computed again."),
}
TRACE = {
    "list": Verb("traces:list_traces",
      "List the shipped twins: what they describe, its licence and its statistics."),
    "stats": Verb("traces:stats",
      "Print counts, lengths, rate, burstiness and prefix reuse of a trace, or a twin's record."),
    "convert": Verb("traces:convert",
      "Rewrite a trace of any known format as canonical CSV or Parquet."),
    "synth": Verb("traces:synth",
      "Make a synthetic trace from a twin or a generator, or make a twin of a trace."),
}
CONFORMANCE = {
    "vllm": Verb("real_engines:vllm",
      "Compare the vLLM V1 scheduler with decision logs recorded from the real one."),
}
VERBS: Mapping[str, Verb | Verbs] = {
    "run": Verb("run:run",
      "Run every point of an experiment (systems x grid x seeds) and print what came out."),
    "check": Verb("start:check",
      "Check an experiment file: every fault as `file:line:column: path: what is wrong`."),
    "capacity": Verb("searches:capacity",
      "Find the highest load that keeps a target, or the fewest replicas, with its interval."),
    "tune": Verb("searches:tune",
      "Search the parameters of a system that give most (or least) of a measure, within limits."),
    "compare": Verb("results:compare",
      "Compare the systems of a finished run: differences over the same seeds, and a verdict."),
    "explain": Verb("results:explain",
      "Tell what happened to one request, and why: from a run with `outputs: {decisions: true}`."),
    "plot": Verb("results:plot",
      "Draw the figures of a finished run again, or any other figure, from its result files."),
    "report": Verb("results:report",
      "Write one HTML page about a finished run (`report.html`), to open in any browser, offline."),
    "timeline": Verb("results:timeline",
      "Write one run as a Chrome trace (`timelines/*.json.gz`); open it at ui.perfetto.dev."),
    "validate": Verb("real_engines:validate",
      "Replay a real vLLM run and compare: TTFT, TPOT, E2E, throughput, single requests."),
    "init": Verb("start:init",
      "Write a commented experiment that runs, and the schema that editors complete it with."),
    "list": Verb("start:list_kinds",
      "List what an experiment can be made of: kinds, their parameters, defaults and meaning."),
    "schema": Verb("start:schema",
      "Print the JSON schema of an experiment file, for completion in editors."),
    "doctor": Verb("doctor:doctor",
      "Say what is installed and what is not; code 1 if something that is needed is missing."),
    "profile": Verbs("List, show and make GPU profiles.", PROFILE),
    "trace": Verbs("Read, convert, describe and make traces.", TRACE),
    "conformance": Verbs(
      "Replay decision logs of real engines and compare every decision.", CONFORMANCE),
}
# fmt: on
"""Every verb and the first line of its help; what is heavy is imported by the verb that runs."""


class _Root(RootGroup):
    """`bros-sim` itself."""

    verbs = VERBS


app = typer.Typer(
    name="bros-sim",
    cls=_Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start: `bros-sim init demo`, then `bros-sim run demo/experiment.yaml`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"bros-sim {VERSION}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Simulate LLM serving clusters that mix real-time and best-effort requests.

    Results go to stdout, progress and diagnostics to stderr. Exit codes: 0 fine, 1 a run failed
    or a check fell short, 2 bad input, 130 interrupted.
    """


def main() -> None:
    """Entry point of the command ``bros-sim``."""
    app()
