"""Every format, from small hand-made files; the policy of `read_trace` and its counts."""

import gzip
import json

import numpy as np
import pytest

from bros_sim.core.request import ServiceClass
from bros_sim.workload.readers import TRACES
from bros_sim.workload.readers.base import Policy
from bros_sim.workload.traces import dequantised, read_trace, within

H = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PDF = {"0": {"input_tokens": "{}", "output_tokens": "{}"},
       "600": {"input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": "{3: 1.0}"}}  # fmt: skip
MOON = '{"timestamp": %d, "input_length": %d, "output_length": 5, "hash_ids": %s}\n'

# name of the format, text, arrivals, prompts, outputs
FORMATS = [
    ("azure", H + "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n",
     [0, 0.052], [4808, 3180], [10, 8]),
    ("azure", H + "2024-05-12 00:00:00.001163+00:00,1,3\n2024-05-12 00:00:02+00:00,2,4\n",
     [0, 1.998837], [1, 2], [3, 4]),
    ("azure", H + "2024-05-12 01:00:00+01:00,1,3\n2024-05-12T00:00:02Z,2,4\n",
     [0, 2], [1, 2], [3, 4]),
    ("azure", "NumImages,TIMESTAMP,ContextTokens,GeneratedTokens\n"
     "0,2024-10-15T12:00:00.269Z,770,491\n1,2024-10-15T12:00:05.819Z,949,126\n",
     [0, 5.55], [770, 949], [491, 126]),
    ("nanoflow", H + "XXX,107,15\nXXX,396,513\n", None, [107, 396], [15, 513]),
    ("burstgpt", "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
     "5,ChatGPT,472,18,490,x\n45,ChatGPT,1087,230,1317,x\n", [0, 40], [472, 1087], [18, 230]),
    ("burstgpt", "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,"
     "Total tokens,Log Type\n19440110.0,a,4,GPT-4,906,446,1,x\n19440161.0,,2,GPT-4,36,29,1,x\n",
     [0, 51], [906, 36], [446, 29]),
    ("vidur", "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n4.3,396,109\n",
     [0, 4.3], [374, 396], [44, 109]),
    ("vidur", ",num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n0,7,8,15,0.9\n",
     None, [7], [8]),
    ("splitwise", "request_id,request_type,application_id,arrival_timestamp,batch_size,"
     "prompt_size,token_size\n0,2,0,1,1,4096,32\n1,2,0,3,1,2048,8\n",
     [1, 3], [4096, 2048], [32, 8]),
    ("mooncake", MOON % (0, 600, "[0, 1]") + MOON % (3000, 100, "[0]"), [0, 3], [600, 100], [5, 5]),
    ("bailian", '{"chat_id": 1, "parent_chat_id": -1, "timestamp": 61.5, "input_length": 20, '
     '"output_length": 3, "type": "text", "turn": 1, "hash_ids": [4, 5]}\n', [61.5], [20], [3]),
    ("servegen-offline", '{"request_id": 0, "input_length": 61, "output_length": 9, "duration": 1}',
     None, [61], [9]),
    ("llmservingsim", '{"input_toks":10,"output_toks":70,"arrival_time_ns":46926808}\n',
     [0.046926808], [10], [70]),
    ("llmservingsim-agentic", '{"session_id":"s","arrival_time_ns":1000000000,"sub_requests":['
     '{"input_toks":10,"output_toks":2,"tool_duration_ns":500000000},'
     '{"input_toks":20,"output_toks":3,"tool_duration_ns":0}]}\n', [1, 1.5], [10, 20], [2, 3]),
    ("aibrix", '{"timestamp": 6011, "requests": [{"Prompt Length": 178, "Output Length": 8},'
     '{"Prompt Length": 2, "Output Length": 1}]}\n', [6.011, 6.011], [178, 2], [8, 1]),
    ("apex", '{"ContextTokens": 304, "GeneratedTokens": 8, "StartTimeOffset": 500000000}\n',
     [0.5], [304], [8]),
    ("canonical", "arrival_s,prompt_tokens,output_tokens\n0.0,374,44\n1.5,2,1\n",
     [0, 1.5], [374, 2], [44, 1]),
    ("canonical", "arrival_s,prompt_tokens,output_tokens\n,374,44\n", None, [374], [44]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "arrivals", "prompts", "outputs"),
    FORMATS,
    ids=[f"{name}-{n}" for n, (name, *_) in enumerate(FORMATS)],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_formats(tmp_path, name, text, arrivals, prompts, outputs, zipped):
    path = tmp_path / "nameless"  # nothing may depend on the name
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    trace = read_trace(path)
    assert trace.format == name
    if arrivals is None:
        assert trace.arrival_s is None
    else:
        np.testing.assert_allclose(trace.arrival_s, arrivals, atol=1e-9)
    assert trace.prompt_tokens.tolist() == prompts
    assert trace.output_tokens.tolist() == outputs


def test_every_format_has_a_test():
    made = {name for name, *_ in FORMATS}
    assert made | {"servegen", "servegen-lengths", "canonical-parquet"} == set(TRACES)


def read(tmp_path, text, **options):
    path = tmp_path / "trace"
    path.write_text(text)
    return read_trace(path, Policy(**options))


def test_bom_crlf_blank_lines_and_quotes(tmp_path):
    text = '\ufeffarrival_s,prompt_tokens,output_tokens,x\r\n0,1,2,"a,b"\r\n\r\n1,3,4,c\r\n'
    assert read(tmp_path, text).prompt_tokens.tolist() == [1, 3]


def test_prefix_hashes(tmp_path):
    trace = read(tmp_path, MOON % (0, 600, "[0, 1]") + MOON % (3000, 100, "[0, 9]"))
    assert trace.prefix_hashes == ((0, 1), (0,))  # 100 tokens fill one block of 512
    assert (trace.hash_block_tokens, trace.counts.long_hash_lists) == (512, 1)


def test_hash_block_is_inferred_when_one_size_fits(tmp_path):
    text = "prompt_tokens,output_tokens,hash_ids\n600,1,0 1\n513,1,0 2\n3,1,7\n"
    assert read(tmp_path, text).hash_block_tokens == 512


def test_canonical_optional_columns(tmp_path):
    text = (
        "arrival_s,prompt_tokens,output_tokens,class,slo_ttft_s,slo_tpot_s,slo_e2e_s,max_tokens\n"
        "0,1,2,rt,0.5,,,9\n1,1,2,,,0.1,60,\n"
    )
    trace = read(tmp_path, text)
    assert trace.service_class == (ServiceClass.RT, None)
    np.testing.assert_array_equal(trace.ttft_slo_s, [0.5, np.nan])
    np.testing.assert_array_equal(trace.tpot_slo_s, [np.nan, 0.1])
    np.testing.assert_array_equal(trace.e2e_slo_s, [np.nan, 60])
    assert trace.max_tokens.tolist() == [9, 0]


C = "arrival_s,prompt_tokens,output_tokens\n"


def test_sorting_is_stable_and_counted(tmp_path):
    trace = read(tmp_path, C + "2,1,1\n0,2,1\n2,3,1\n0,4,1\n")
    assert trace.prompt_tokens.tolist() == [2, 4, 1, 3]
    assert (trace.counts.out_of_order, trace.counts.ties) == (2, 2)
    many = read(tmp_path, C + "".join(f"{n % 3},{n + 1},1\n" for n in range(3000)))
    assert (np.diff(many.prompt_tokens.reshape(3, 1000)) == 3).all()


def test_zero_tokens_are_raised_or_dropped_and_counted(tmp_path):
    text = C + "0,0,5\n1,7,0\n2,3,4\n"
    kept = read(tmp_path, text)
    assert (kept.prompt_tokens.tolist(), kept.output_tokens.tolist()) == ([1, 7, 3], [5, 1, 4])
    assert (kept.counts.zero_prompt, kept.counts.zero_output, kept.counts.dropped) == (1, 1, 0)
    left = read(tmp_path, text, zero_tokens="drop")
    assert left.prompt_tokens.tolist() == [3]
    assert (left.counts.rows_read, left.counts.rows_kept, left.counts.dropped) == (3, 1, 2)


def test_clip_window_and_filter_are_counted(tmp_path):
    text = C + "0,10,1\n5,20,9\n9,30,3\n"
    trace = read(tmp_path, text, start_s=4, end_s=20, max_prompt_tokens=25, max_output_tokens=5)
    assert trace.arrival_s.tolist() == [1, 5]
    assert trace.prompt_tokens.tolist() == [20, 25]
    assert trace.output_tokens.tolist() == [5, 3]
    counts = trace.counts
    assert (counts.outside_window, counts.clipped_prompt, counts.clipped_output) == (1, 1, 1)
    small = within(read(tmp_path, text), most_prompt=20, least=2)
    assert (small.prompt_tokens.tolist(), small.counts.filtered) == ([20], 2)


def test_dequantise_keeps_order_and_ticks():
    ticks = np.repeat([0.0, 3.0, 9.0], [3, 2, 2])
    spread = dequantised(ticks, np.random.default_rng(0))
    assert (np.diff(spread) > 0).all()
    assert ((spread >= ticks) & (spread < ticks + 3.03)).all()


def test_servegen_windows_and_their_dataset(tmp_path):
    trace = tmp_path / "chunk-1-trace.csv"
    trace.write_text("0,2.0,1.0,Gamma,1.0,0.5\n600,0,0,,0,0\n1200,3.0,1.5,Weibull,0.7,0.2\n")
    alone = read_trace(trace)
    assert not alone.has_lengths
    assert abs(len(alone) - 3000) < 5 * (1200 + 4 * 1800) ** 0.5
    assert not ((alone.arrival_s >= 600) & (alone.arrival_s < 1200)).any()
    (tmp_path / "chunk-1-dataset.json").write_text(json.dumps(PDF))
    full = read_trace(trace, Policy(seed=3))
    assert full.counts.synthesised == len(full)
    assert set(full.prompt_tokens.tolist()) == {10, 20}
    assert set(full.output_tokens.tolist()) == {3}
    np.testing.assert_array_equal(full.arrival_s, read_trace(trace, Policy(seed=3)).arrival_s)


@pytest.mark.parametrize("indent", [None, 2])
def test_servegen_dataset_alone(tmp_path, indent):
    trace = read(tmp_path, json.dumps(PDF, indent=indent))
    assert (trace.format, len(trace)) == ("servegen-lengths", 1000)
    assert abs((trace.prompt_tokens == 10).mean() - 0.5) < 0.08


def test_missing_outputs_of_a_batch_seq_are_counted(tmp_path):
    trace = read(tmp_path, '{"request_id": 0, "input_length": 61, "hash_ids": [1, 2, 3, 4]}\n')
    assert trace.output_tokens.tolist() == [1]
    assert (trace.counts.missing_output, trace.counts.zero_output) == (1, 1)
    assert trace.hash_block_tokens == 16
