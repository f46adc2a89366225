"""What the tables of a run and of the page of `report` say."""

import io

import pandas as pd

from bros_sim.report.text_tables import capacity_table
from tests.cli.test_run import FRAGILE, PLAIN

RATES = pd.DataFrame(
    {
        "system": ["A", "B"], "capacity": "rate@90", "load": "r", "rate_rps": [3.0, 5.0],
        "half_width_rps": 0.5, "at_least_rps": [2.0, 4.0], "below_rps": [4.0, 6.0], "seeds": 3,
        "saturation": ["", "overloaded, too short"],
    }
)  # fmt: skip


def test_a_rate_that_rests_on_no_steady_state_has_a_star():
    stored = pd.read_csv(io.StringIO(RATES.to_csv(index=False)))
    for table in (RATES, stored):
        made = capacity_table(table)
        assert [list(row) for row in made.rows] == [["A", "3 ± 0.5"], ["B", "5 ± 0.5*"]]
        what = "a run at the loads around it is overloaded or too short"
        assert made.notes == [f"* {what}: the answer depends on duration_s"]
    for table in (RATES.drop(columns="saturation"), RATES.assign(saturation="")):
        made = capacity_table(table)
        assert [row[1] for row in made.rows] == ["3 ± 0.5", "5 ± 0.5"]
        assert made.notes == []


def test_when_every_point_fails_it_says_so(bros, tiny, tmp_path):
    (tmp_path / "hopeless_policy.py").write_text(FRAGILE)
    mine = "{kind: 'hopeless_policy:Fragile'}"
    tiny.write_text(
        PLAIN.replace("{kind: vllm, policy: priority}", mine).replace("{kind: vllm}", mine)
    )
    result = bros("run", tiny)
    assert result.exit_code == 1
    assert result.stdout == "No point succeeded.\n"
    assert result.stderr.count("out of ideas") == 4
    assert not (tmp_path / "results" / "tiny" / "means.csv").exists()
