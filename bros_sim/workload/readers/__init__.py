"""TRACES: every trace format, recognised by header or keys. The first match is taken."""

from bros_sim.workload.readers.azure import is_timed, read_azure, read_nanoflow
from bros_sim.workload.readers.base import Reader
from bros_sim.workload.readers.canonical import read_canonical_csv, read_canonical_parquet
from bros_sim.workload.readers.hashed import read_bailian, read_mooncake, read_servegen_offline
from bros_sim.workload.readers.jsonl import read_aibrix, read_apex, read_llmservingsim
from bros_sim.workload.readers.servegen import is_windows, read_lengths, read_windows
from bros_sim.workload.readers.source import Head
from bros_sim.workload.readers.tables import read_burstgpt, read_splitwise, read_vidur

AZURE = frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})
BURSTGPT = frozenset({"Timestamp", "Request tokens", "Response tokens"})
VIDUR = frozenset({"num_prefill_tokens", "num_decode_tokens"})
SPLITWISE = frozenset({"arrival_timestamp", "prompt_size", "token_size"})
HASHED = frozenset({"timestamp", "input_length", "output_length", "hash_ids"})
APEX = frozenset({"StartTimeOffset", "ContextTokens", "GeneratedTokens"})
PLAIN = frozenset({"input_toks", "output_toks", "arrival_time_ns"})
AGENTIC = frozenset({"arrival_time_ns", "sub_requests"})
AIBRIX = frozenset({"timestamp", "requests"})
CANONICAL = frozenset({"prompt_tokens", "output_tokens"})


def _untimed(head: Head) -> bool:
    return "timestamp" not in head.keys


_READERS = (
    Reader("azure", "Azure LLM 2023, 2024, 2025", "csv", AZURE, read_azure, is_timed),
    Reader("nanoflow", "NanoFlow lengths", "csv", AZURE, read_nanoflow),
    Reader("burstgpt", "BurstGPT, 6 or 8 columns", "csv", BURSTGPT, read_burstgpt),
    Reader("vidur", "Vidur, with or without arrivals", "csv", VIDUR, read_vidur),
    Reader("splitwise", "splitwise-sim", "csv", SPLITWISE, read_splitwise),
    Reader("bailian", "Qwen-Bailian", "jsonl", HASHED | {"chat_id"}, read_bailian),
    Reader("mooncake", "Mooncake", "jsonl", HASHED, read_mooncake),
    Reader("llmservingsim", "LLMServingSim", "jsonl", PLAIN, read_llmservingsim),
    Reader("llmservingsim-agentic", "LLMServingSim sessions", "jsonl", AGENTIC, read_llmservingsim),
    Reader("aibrix", "AIBrix", "jsonl", AIBRIX, read_aibrix),
    Reader("apex", "APEX+", "jsonl", APEX, read_apex),
    Reader(
        "servegen-offline",
        "ServeGen batch jobs",
        "jsonl",
        frozenset({"request_id", "input_length"}),
        read_servegen_offline,
        _untimed,
    ),
    Reader(
        "servegen", "ServeGen client windows", "headerless", frozenset(), read_windows, is_windows
    ),
    Reader("servegen-lengths", "ServeGen client lengths", "json", frozenset(), read_lengths),
    Reader("canonical", "canonical CSV", "csv", CANONICAL, read_canonical_csv),
    Reader(
        "canonical-parquet", "canonical Parquet", "parquet", frozenset(), read_canonical_parquet
    ),
)

TRACES: dict[str, Reader] = {reader.name: reader for reader in _READERS}
