"""Readers on first rows of the original files, and on whole ones; skipped where they are absent."""

import numpy as np
import pytest

from bros_sim.workload.readers.base import Policy
from bros_sim.workload.statistics import trace_summary
from bros_sim.workload.traces import read_trace

SAMPLES = [  # file, format, rows, first prompt and output, last arrival
    ("AzureLLMInferenceTrace_code.head200.csv", "azure", 200, (4808, 10), 199.089585),
    ("AzureLLMInferenceTrace_conv.head200.csv", "azure", 200, (374, 44), 61.263537),
    (
        "AzureLLMInferenceTrace_code_1week.10rows_from_notebook.csv",
        "azure", 10, (2162, 5), 604799.919571,
    ),
    (
        "AzureLLMInferenceTrace_conv_1week.10rows_from_notebook.csv",
        "azure", 10, (1452, 3), 604799.994297,
    ),
    (
        "AzureLMMInferenceTrace_multimodal.10rows_from_notebook.csv",
        "azure", 10, (770, 491), 604799.695,
    ),
    ("BurstGPT_1.3rows_quoted.csv", "burstgpt", 3, (472, 18), 113),
    ("BurstGPT_3.4rows_quoted.csv", "burstgpt", 4, (906, 446), 144),
    ("aibrix_workload.head20.prompt_blanked.jsonl", "aibrix", 20, (178, 8), 14.992),
    ("apex_creation.head3.jsonl", "apex", 3, (304, 822), 1.4396433),
    ("etalon_sharegpt_8k_stats.head200.csv", "vidur", 200, (74, 918), None),
    ("llmservingsim_example_trace.full10.jsonl", "llmservingsim", 10, (10, 70), 1.026970077),
    ("llmservingsim_mixed.head200.jsonl", "llmservingsim", 200, (27369, 1626), 20.319245),
    ("llmservingsim_sharegpt.head5.jsonl", "llmservingsim", 5, (2358, 531), 0.587870262),
    ("mooncake_conversation_trace.head200.jsonl", "mooncake", 200, (6758, 500), 72),
    ("mooncake_synthetic_trace.head200.jsonl", "mooncake", 200, (40160, 6), 58.501),
    ("mooncake_toolagent_like_slice.10rows.jsonl", "mooncake", 10, (2105, 650), 1181.678),
    ("nanoflow_lmsys.head200.csv", "nanoflow", 200, (107, 15), None),
    ("qwen_bailian.documented_examples.jsonl", "bailian", 3, (502, 1494), 62.5),
    ("servegen_deepseek-r1_chunk-52-dataset.full.json", "servegen-lengths", 1000, None, None),
    ("servegen_offline_trace_a.head3.jsonl", "servegen-offline", 3, (271, 1), None),
    ("servegen_offline_trace_d.head120.jsonl", "servegen-offline", 120, (61, 2370), None),
    ("servegen_offline_trace_e.head40.jsonl", "servegen-offline", 40, (704, 5), None),
    ("splitwisesim_test_trace.full.csv", "splitwise", 3, (4096, 32), 4),
    ("vidur_arxiv_summarization_stats.head200.csv", "vidur", 200, (3772, 54), None),
    ("vidur_splitwise_code.head200.csv", "vidur", 200, (4808, 10), 199.089585),
    ("vidur_splitwise_conv.head200.csv", "vidur", 200, (374, 44), 61.263537),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "rows", "first", "last_s"), SAMPLES)
def test_samples(original, name, kind, rows, first, last_s):
    trace = read_trace(original(f"original_samples/{name}"))
    assert (trace.format, len(trace)) == (kind, rows)
    if first is not None:
        assert (trace.prompt_tokens[0], trace.output_tokens[0]) == first
    if last_s is None:
        assert trace.arrival_s is None
    else:
        assert trace.arrival_s[-1] == pytest.approx(last_s, abs=1e-9)


def test_servegen_client(original):
    alone = read_trace(original("original_samples/servegen_deepseek-r1_chunk-1-trace.full.csv"))
    assert alone.format == "servegen"
    assert not alone.has_lengths
    assert len(alone) == pytest.approx(10_700, rel=0.05)
    small = read_trace(original("original_samples/servegen_deepseek-r1_chunk-52-trace.full.csv"))
    assert small.has_lengths
    assert 26_400 <= small.arrival_s[0] < small.arrival_s[-1] < 27_000


def test_both_forms_of_azure_agree(original):
    theirs = read_trace(original("original_samples/AzureLLMInferenceTrace_code.head200.csv"))
    ours = read_trace(original("azure2023_code.csv.gz"))
    np.testing.assert_allclose(theirs.arrival_s, ours.arrival_s[:200], atol=1e-6)
    np.testing.assert_array_equal(theirs.prompt_tokens, ours.prompt_tokens[:200])


def test_mooncake_statistics(original):
    trace = read_trace(original("mooncake_conversation.csv.gz"))
    assert trace.counts.ties == 12_031 - 1_180
    numbers = trace_summary(trace)
    assert numbers["prefixes"]["reused_blocks_share"] == pytest.approx(0.366, abs=0.001)
    assert numbers["arrivals"]["fano_1_s"] == pytest.approx(7.898, rel=0.01)
    spread = read_trace(original("mooncake_conversation.csv.gz"), Policy(dequantise="uniform"))
    assert trace_summary(spread)["arrivals"]["fano_1_s"] == pytest.approx(1.05, abs=0.1)
