"""``explain``: one request's story, from the decision log of a finished run."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bros_sim.cli.points import PointOption, choose_point, point_labels
from bros_sim.cli.run import Format, FormatOption

if TYPE_CHECKING:
    import pandas as pd

    from bros_sim.report.story import Story
    from bros_sim.study.results import PointResult


def explain(
    results: Annotated[Path, typer.Argument(help="Folder of a finished run: results/NAME.")],
    request: Annotated[
        str, typer.Option(help="Id of the request: STREAM-NUMBER, as in requests.parquet.")
    ],
    point: PointOption = None,
    system: Annotated[str | None, typer.Option(help="Only points of this system.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only points with this seed.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Tell what happened to one request, and why: from a run with `outputs: {decisions: true}`.

    Example: `bros-sim explain results/quickstart --request chat-17 --system "vLLM FCFS" --seed 0`
    """
    from bros_sim.report.story import Story
    from bros_sim.study.store import open_results

    found, _ = open_results(results)
    chosen = choose_point(found, point, {"system": system, "seed": seed})
    requests, decisions = _read(chosen)
    story = Story(requests, decisions, _number(chosen, requests, request))
    if form is Format.JSON:
        sys.stdout.write(json.dumps(_plain(chosen, story), indent=1) + "\n")
    else:
        _print(chosen, story)


def _read(point: "PointResult") -> "tuple[pd.DataFrame, pd.DataFrame]":
    from bros_sim.core.errors import InputError

    if point.error:
        raise InputError(f"{point_labels(point)}: this point failed: {point.error}")
    if not point.has_decisions:
        what = "no decisions were recorded; add this line to the experiment and run it again"
        raise InputError(f"{point_labels(point)}: {what}: `outputs: {{decisions: true}}`")
    try:
        return point.requests(), point.decisions()
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{point.folder}: damaged, run it again: {what}") from None


def _number(point: "PointResult", requests: "pd.DataFrame", request: str) -> int:
    """The row of a request.

    Raises:
        InputError: There is none.
    """
    from bros_sim.config.messages import nearest
    from bros_sim.core.errors import InputError

    ids: list[str] = requests["request_id"].tolist()
    if request in ids:
        return ids.index(request)
    stream = request.rpartition("-")[0] or request
    same = requests.loc[requests["stream"] == stream, "request_id"]
    hint = nearest(stream, requests["stream"].unique()).replace("'?", "-...'?")
    if len(same):
        hint = f" (there are {same.iloc[0]} to {same.iloc[-1]})"
    raise InputError(f"{point_labels(point)}: there is no request '{request}'{hint}")


def _print(point: "PointResult", story: "Story") -> None:
    from bros_sim.report.terminal import print_table

    row = story.request
    shape = f"{row['prompt_tokens']:,} prompt tokens, {row['output_tokens']:,} to generate"
    sys.stdout.write(f"{row['request_id']} ({row['class']}), {shape}\n{point_labels(point)}\n\n")
    rows = [
        [
            "" if event.at is None else f"{event.at:.3f}",
            "" if event.iteration is None else str(event.iteration),
            event.text,
        ]
        for event in story.events()
    ]
    print_table(["time s", "iteration", "what happened"], rows)
    for line in story.verdict() or ["no SLO"]:
        sys.stdout.write(f"{line}\n")


def _plain(point: "PointResult", story: "Story") -> dict[str, object]:
    met = story.request["slo_met"]
    return {
        "request": story.request["request_id"],
        "point": dict(point.labels),
        "events": [asdict(event) for event in story.events()],
        "slo": story.verdict(),
        "slo_met": bool(met) if met in {True, False} else None,
    }
