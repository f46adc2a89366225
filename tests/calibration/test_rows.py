import numpy as np
import pandas as pd
import pytest
from calibration.synthetic import HYBRID, LINEAR, MODELS, RANGE, rows_of, steps_of

from bros_sim.calibration.fit_design import predict_s
from bros_sim.calibration.step_rows import (
    STEP_COLUMNS,
    kinds_of,
    read_steps,
    sample_shapes,
    split,
    step_row,
    steps_frame,
    write_steps,
)
from bros_sim.core.errors import InputError
from bros_sim.engine.latency_model import StepShape
from bros_sim.latency.parameters import Hybrid
from bros_sim.profiles.profile import load_profile


def test_a_steps_file_reads_back_as_it_was_written(tmp_path):
    for name in ("steps.csv", "steps.csv.gz"):
        write_steps(rows_of(HYBRID, 60), tmp_path / name)
        pd.testing.assert_frame_equal(read_steps(tmp_path / name), steps_of(HYBRID, 60))
    assert (tmp_path / "steps.csv").read_text().splitlines()[0] == ",".join(STEP_COLUMNS)


GOOD = {
    "prefill_tokens": "512",
    "prefill_chunks": "2",
    "prefill_context_tokens": "100",
    "prefill_attention_pairs": "100000",
    "decode_jobs": "4",
    "decode_kv_tokens": "400",
    "time_s": "0.02",
    "count": "3",
}
FAULTS = [
    ({"time_s": "fast"}, ":2: time_s: should be a number >= 0"),
    ({"time_s": "0"}, ":2: time_s: should be more than 0"),
    ({"time_s": "inf"}, ":2: time_s: should be a number >= 0"),
    ({"decode_jobs": "-1"}, ":2: decode_jobs: should be a number >= 0"),
    ({"count": "0"}, ":2: count: should be at least 1"),
    ({"prefill_chunks": "0"}, ":2: prefill_chunks: a chunk has tokens"),
    ({"prefill_attention_pairs": "9e9"}, ":2: prefill_attention_pairs: is not the sum"),
    ({"prefill_attention_pairs": "1"}, ":2: prefill_attention_pairs: is not the sum"),
    ({"decode_kv_tokens": "3"}, ":2: decode_kv_tokens: fewer KV tokens than requests"),
    ({"decode_jobs": "0"}, ":2: decode_kv_tokens: KV tokens of no request"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_row_that_makes_no_sense_is_named(tmp_path, change, message):
    path = tmp_path / "steps.csv"
    pd.DataFrame([GOOD | change]).to_csv(path, index=False)
    with pytest.raises(InputError) as caught:
        read_steps(path)
    assert [line for line in caught.value.lines if line.startswith(f"{path}{message}")]


def test_missing_and_unknown_columns_and_no_rows(tmp_path):
    path = tmp_path / "steps.csv"
    pd.DataFrame([GOOD]).rename(columns={"time_s": "time_ms"}).to_csv(path, index=False)
    with pytest.raises(InputError) as caught:
        read_steps(path)
    assert caught.value.lines == (
        f"{path}:1: the column time_s is missing",
        f"{path}:1: there is no column time_ms in a steps file",
    )
    pd.DataFrame([GOOD]).head(0).to_csv(path, index=False)
    with pytest.raises(InputError, match="there are no rows"):
        read_steps(path)
    with pytest.raises(InputError, match=r"nothing\.csv: cannot be read"):
        read_steps(tmp_path / "nothing.csv")


def test_the_split_is_the_same_each_time_and_keeps_the_ends():
    steps = steps_of(HYBRID, 300)
    held_out = split(steps)
    assert held_out.equals(split(steps))
    assert not held_out.equals(split(steps, seed=7))
    for kind, part in steps.groupby(kinds_of(steps)):
        assert 0.15 < held_out[part.index].mean() < 0.26, kind
        for name in ("prefill_tokens", "decode_jobs", "decode_kv_tokens"):
            assert part[~held_out[part.index]][name].max() == part[name].max()


@pytest.mark.parametrize("kind", MODELS)
def test_sums_of_chunks_are_all_that_the_forms_need(kind):
    """The design over rows gives what ``step_s`` gives, also for several unequal chunks."""
    model = MODELS[kind]
    shapes = sample_shapes(RANGE, 200, seed=3)
    shapes += [StepShape(((100, 0), (300, 900), (1, 50)), seqs, 70 * seqs) for seqs in (0, 5, 60)]
    rows = steps_frame(step_row(shape, 1.0, 1) for shape in shapes)
    running = model.make()
    times = [running.step_s(shape) for shape in shapes]
    np.testing.assert_allclose(predict_s(model, rows), times, rtol=1e-12)


def test_the_design_of_a_shipped_profile_is_its_model():
    hybrid = load_profile("h100-80gb/llama-2-70b-tp8").coefficients(Hybrid)
    shapes = sample_shapes(hybrid.validity, 200, seed=4)
    rows = steps_frame(step_row(shape, 1.0, 1) for shape in shapes)
    running = hybrid.make()
    times = [running.step_s(shape) for shape in shapes]
    np.testing.assert_allclose(predict_s(hybrid, rows), times, rtol=1e-12)


def test_a_linear_model_with_a_bound_needs_the_single_chunks():
    bounded = type(LINEAR)(1.0, 1.0, -1e-6, 2048)
    with pytest.raises(ValueError, match="one line each"):
        predict_s(bounded, steps_of(LINEAR, 3))
