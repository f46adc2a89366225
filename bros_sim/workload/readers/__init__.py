"""TRACES: every trace format, recognised by header or keys. The first match is taken."""

from bros_sim.workload.readers import named
from bros_sim.workload.readers.base import Reader
from bros_sim.workload.readers.canonical import read_canonical_csv, read_canonical_parquet
from bros_sim.workload.readers.named import read_aibrix, read_llmservingsim
from bros_sim.workload.readers.servegen import is_windows, read_jobs, read_lengths, read_windows

AZURE = frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})
BURSTGPT = frozenset({"Timestamp", "Request tokens", "Response tokens"})
VIDUR = frozenset({"num_prefill_tokens", "num_decode_tokens"})
SPLITWISE = frozenset({"arrival_timestamp", "prompt_size", "token_size"})
HASHED = frozenset({"timestamp", "input_length", "output_length", "hash_ids"})
APEX = frozenset({"StartTimeOffset", "ContextTokens", "GeneratedTokens"})
PLAIN = frozenset({"input_toks", "output_toks", "arrival_time_ns"})
AGENTIC = frozenset({"arrival_time_ns", "sub_requests"})
AIBRIX = frozenset({"timestamp", "requests"})
JOBS = frozenset({"request_id", "input_length"})
CANONICAL = frozenset({"prompt_tokens", "output_tokens"})
ANY: frozenset[str] = frozenset()

# fmt: off
_READERS = (
    Reader("azure", "Azure LLM 2023, 2024, 2025", "csv", AZURE, named.AZURE, named.is_timed),
    Reader("nanoflow", "NanoFlow lengths", "csv", AZURE, named.NANOFLOW),
    Reader("burstgpt", "BurstGPT, 6 or 8 columns", "csv", BURSTGPT, named.BURSTGPT),
    Reader("vidur", "Vidur, with or without arrivals", "csv", VIDUR, named.VIDUR),
    Reader("splitwise", "splitwise-sim", "csv", SPLITWISE, named.SPLITWISE),
    Reader("bailian", "Qwen-Bailian", "jsonl", HASHED | {"chat_id"}, named.BAILIAN),
    Reader("mooncake", "Mooncake", "jsonl", HASHED, named.MOONCAKE),
    Reader("llmservingsim", "LLMServingSim", "jsonl", PLAIN, read_llmservingsim),
    Reader("llmservingsim-agentic", "LLMServingSim sessions", "jsonl", AGENTIC, read_llmservingsim),
    Reader("aibrix", "AIBrix", "jsonl", AIBRIX, read_aibrix),
    Reader("apex", "APEX+", "jsonl", APEX, named.APEX),
    Reader("servegen-offline", "ServeGen batch jobs", "jsonl", JOBS, read_jobs,
           lambda head: "timestamp" not in head.keys),
    Reader("servegen", "ServeGen client windows", "headerless", ANY, read_windows, is_windows),
    Reader("servegen-lengths", "ServeGen client lengths", "json", ANY, read_lengths),
    Reader("canonical", "canonical CSV", "csv", CANONICAL, read_canonical_csv),
    Reader("canonical-parquet", "canonical Parquet", "parquet", ANY, read_canonical_parquet),
)
# fmt: on

TRACES: dict[str, Reader] = {reader.name: reader for reader in _READERS}
