"""A request's story in words, from the request table and the decision log."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from bros_sim.config.messages import nearest
from bros_sim.core.errors import InputError
from bros_sim.report.tables import Part, Printed, Row, Table, records
from bros_sim.study.results import PointResult, ResultSet, undamaged
from bros_sim.study.store import opened

WHATS = {
    "admitted": "admitted with {tokens:,} cached tokens",
    "resumed": "goes on",
    "paused": "paused with {tokens:,} tokens of KV",
    "evicted": "evicted: {tokens:,} tokens of KV are lost",
    "swapped_out": "swapped out: {tokens:,} tokens of KV move to the CPU",
    "passed_over": "passed over",
}
"""Decision -> words."""
REASONS = {
    "budget": "it asks for {value:,.0f} tokens, the iteration has {limit:,.0f} left",
    "seats": "all {limit:,.0f} seats are taken",
    "outranked": "{other} goes before it and takes its seat",
    "batch_cap": "the batch of {limit:,.0f} is full",
    "memory": "it needs {value:,.0f} KV blocks, {limit:,.0f} are free",
    "deadline": "the batch would take {value_ms:,.1f} ms, {whose} token is due in {limit_ms:,.1f}",
    "replaced": "it has time to spare, {other} goes in its place",
    "after_preemption": "nobody joins an iteration that preempts ({other})",
    "swapped_first": "{other} is swapped out and comes back first",
    "prompts_first": "decodes stand still while prompts run ({other})",
    "too_few": "{value:,.0f} could join, the running ones are interrupted for {limit:,.0f}",
    "every_second": "the iteration before admitted, this one does not",
    "other_class": "this iteration is the other class's",
}
"""Reason -> words; ``value`` and ``limit`` are explained in ``schedulers/notes.py``."""
LINE = 3  # how many of those at the head of the line are named
ENDS = {
    "unfinished": "not finished when the run ended",
    "rejected": "rejected: it could never fit, or the policy turned it away",
    "completed": "finished",
}


@dataclass(frozen=True)
class Event:
    """Something that happened to the request; ``at`` is in seconds, or the end of the run."""

    at: float | None
    iteration: int | None
    what: str
    text: str
    reason: str = ""
    other: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Explanation(Printed):
    """What happened to one request of a point, and why; ``number`` is its row in ``requests``."""

    point: PointResult
    requests: pd.DataFrame
    decisions: pd.DataFrame
    number: int

    def parts(self) -> Iterator[Part]:
        row = self._request
        shape = f"{row['prompt_tokens']:,} prompt tokens, {row['output_tokens']:,} to generate"
        yield f"{row['request_id']} ({row['class']}), {shape}\n{self.point.words}\n"
        rows = [
            ["" if event.at is None else f"{event.at:.3f}",
             "" if event.iteration is None else str(event.iteration), event.text]
            for event in self._events()
        ]  # fmt: skip
        yield Table(["time s", "iteration", "what happened"], rows)
        yield from [*_verdict(row)] or ["no SLO"]

    def plain(self) -> dict[str, object]:
        row, events = self._request, [asdict(event) for event in self._events()]
        met = bool(row["slo_met"]) if row["slo_met"] in {True, False} else None
        about = {"request": row["request_id"], "point": dict(self.point.labels)}
        return {**about, "events": events, "slo": [*_verdict(row)], "slo_met": met}

    @property
    def events(self) -> pd.DataFrame:
        """A row for each event: ``at`` (s), ``iteration``, ``what``, ``text``, ..."""
        return pd.DataFrame([asdict(event) for event in self._events()])

    @property
    def _request(self) -> Row:
        return records(self.requests.iloc[[self.number]])[0]

    def _events(self) -> list[Event]:
        """From its arrival to its end, in order of time; decisions come after tokens."""
        row = self._request
        found = [_event(row["arrival_s"], "arrived", f"arrives at replica {row['replica']}")]
        if pd.notna(row["first_token_s"]):
            found.append(_event(row["first_token_s"], "first_token", "first token"))
        found += self._decided()
        found += self._in_line()
        found.sort(key=lambda event: event.at or 0.0)
        at = row["last_token_s"] if row["status"] == "completed" else None
        return [*found, _event(at, row["status"], ENDS[row["status"]])]

    def _decided(self) -> Iterator[Event]:
        for row in records(self.decisions[self.decisions["request"] == self.number]):
            other = self._name(row["other"])
            words = (row["decision"], _words(row, other), row["reason"])
            yield Event(row["time_s"], row["iteration"], *words, other, row["count"])

    def _in_line(self) -> Iterator[Event]:
        """Before the policy first looked at it: who was passed over in the meantime."""
        log, request = self.decisions, self._request
        mine = log.loc[log["request"] == self.number, "time_s"]
        until = mine.iloc[0] if len(mine) else float("inf")
        there = (log["replica"] == request["replica"]) & (log["last_s"] >= request["arrival_s"])
        log = log[there & (log["time_s"] < until)]
        planned = (log["last_s"] < until) | (log["time_s"] >= request["arrival_s"])
        meanwhile = log[(log["decision"] == "passed_over") & (log["tokens"] == 0)]
        if not planned.any() or meanwhile.empty or request["status"] == "rejected":
            return
        ahead = records(meanwhile.drop_duplicates("request"))
        names = [f"{self._name(row['request'])} ({row['reason']})" for row in ahead]
        more = [f"{len(names) - LINE} more"] if len(names) > LINE else []
        heads = ", ".join([*names[:LINE], *more])
        words = f"waits, not looked at yet; passed over meanwhile: {heads}"
        yield _event(request["arrival_s"], "in_line", words)

    def _name(self, number: float) -> str | None:
        """The id of a request by its row number; None for none."""
        return None if pd.isna(number) else str(self.requests["request_id"].iloc[int(number)])


def explain(
    results: ResultSet | str | Path, request: str, *,
    point: int | None = None, system: str | None = None, seed: int | None = None,
) -> Explanation:  # fmt: skip
    """What happened to one request, and why: from a run with ``outputs: {decisions: true}``.

    An `InputError` says that no point fits, or several; that it failed, is damaged, or has no
    decision log; or that it has no such request.
    """
    chosen = opened(results).one(point, {"system": system, "seed": seed}).needed()
    if not chosen.has_decisions:
        what = "no decisions were recorded; add this line to the experiment and run it again"
        raise InputError(f"{chosen.words}: {what}: `outputs: {{decisions: true}}`")
    with undamaged(chosen.folder):
        requests, decisions = chosen.requests(), chosen.decisions()
    return Explanation(chosen, requests, decisions, _number(chosen, requests, request))


def _number(point: PointResult, requests: pd.DataFrame, request: str) -> int:
    ids: list[str] = requests["request_id"].tolist()
    if request in ids:
        return ids.index(request)
    stream = request.rpartition("-")[0] or request
    same = requests.loc[requests["stream"] == stream, "request_id"]
    hint = nearest(stream, requests["stream"].unique()).replace("'?", "-...'?")
    if len(same):
        hint = f" (there are {same.iloc[0]} to {same.iloc[-1]})"
    raise InputError(f"{point.words}: there is no request '{request}'{hint}")


def _event(at: float | None, what: str, text: str) -> Event:
    return Event(None if at is None else float(at), None, what, text)


def _words(row: Row, other: str | None) -> str:
    text = WHATS[row["decision"]].format(tokens=row["tokens"])
    reason = _reason(row, other) if row["reason"] else ""
    if row["count"] > 1:
        text += f" {row['count']:,} times until {row['last_s']:.3f} s"
        reason = f"first because {reason}" if reason else ""
    return f"{text}: {reason}" if reason else text


def _reason(row: Row, other: str | None) -> str:
    own = row["other"] == row["request"] if other else False
    if row["reason"] == "memory" and pd.isna(row["value"]):
        if own:
            return "it lacks memory itself and is the next to give way"
        return f"{other or 'others'} needed the memory"
    value, limit = row["value"], row["limit"]
    return REASONS.get(row["reason"], str(row["reason"])).format(
        value=value, limit=limit, value_ms=1000 * value, limit_ms=1000 * limit, other=other,
        whose="its own" if own else f"{other}'s" if other else "somebody's",
    )  # fmt: skip


def _verdict(row: Row) -> Iterator[str]:
    for name in ("ttft", "tpot", "e2e"):
        bound, value = row[f"{name}_slo_s"], row[f"{name}_s"]
        if pd.isna(bound):
            continue
        if pd.isna(value):
            short = name == "tpot" and row["status"] == "completed"
            yield f"{name.upper()} {'met: it has one token' if short else 'missed'}"
        else:
            kept = "met" if value <= bound and row["status"] == "completed" else "missed"
            yield f"{name.upper()} {kept}: {value:.3f} s of {bound:g} s"
