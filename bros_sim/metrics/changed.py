"""Single requests under two systems: whose SLO verdict turned, and who gained or lost most."""

import pandas as pd

COLUMNS = ("request_id", "class", "arrival_s", "status", "ttft_s", "e2e_s", "slo_met")
"""The columns of requests.parquet that this needs."""
SIDES = ("_baseline", "_system")
SLO = {(True, True): "both", (True, False): "only_baseline", (False, True): "only_system"}


def same_requests(baseline: pd.DataFrame, system: pd.DataFrame) -> pd.DataFrame:
    """The requests that both runs have, side by side, from `COLUMNS` of their requests.parquet.

    Those of closed-loop clients arrive when the system lets them: the same id at another time is
    another request, and is left out. Columns beside id, class and arrival come with each of
    `SIDES`; ``e2e_change_s`` is missing where one of the two did not complete.
    """
    keys = ["request_id", "class", "arrival_s"]
    both = baseline[list(COLUMNS)].merge(system[list(COLUMNS)], on=keys, suffixes=SIDES)
    return both.assign(e2e_change_s=both["e2e_s_system"] - both["e2e_s_baseline"])


def slo_turns(both: pd.DataFrame) -> dict[str, int]:
    """How many requests with an SLO met it under ``both``, ``only_`` one, or ``neither``."""
    judged = both[both["slo_met_baseline"].notna() & both["slo_met_system"].notna()]
    met = [judged[f"slo_met{side}"].astype(bool).to_numpy() for side in SIDES]
    counts = {
        name: int(((met[0] == first) & (met[1] == second)).sum())
        for (first, second), name in SLO.items()
    }
    return {**counts, "neither": len(judged) - sum(counts.values())}


def changed_most(both: pd.DataFrame, count: int) -> pd.DataFrame:
    """The ``count`` rows of `same_requests` that changed most.

    First those that completed under one system only, then by the change of arrival to last token;
    ties by id. Requests that did not change at all are none of them.
    """
    ended = (both["status_baseline"] == "completed") != (both["status_system"] == "completed")
    change = both["e2e_change_s"].abs().fillna(0.0)
    ranked = both.assign(_ended=ended, _change=change)
    ranked = ranked[ended | (change > 0)]
    keys = ["_ended", "_change", "request_id"]
    ranked = ranked.sort_values(keys, ascending=[False, False, True], kind="stable")
    return ranked.head(count).drop(columns=keys[:2])
