"""What the papers, and the files that their authors published, say."""

RELAY_REQUESTS_S = {
    64: (8.491, 8.435, 9.079),
    256: (6.829, 7.760, 9.148),
    512: (5.400, 6.743, 9.046),
    1024: (3.681, 5.295, 8.935),
    2048: (2.256, 3.747, 8.810),
}
"""Tokens of the system prompt -> requests/s of vLLM, with a prompt cache, with RelayAttention.

stat/noninteractive_bench_sharegpt/A100.Llama-2-7b-hf.csv of github.com/rayleizhu/vllm-ra.
"""

RELAY_OUTPUT_TOKENS = 245
"""Mean answer behind these: generated tokens/s over requests/s of the same file."""

REFRAG_TTFT = {16: 16.53, 32: 32.99}
"""Compression -> TTFT of LLaMA / TTFT of REFRAG, embeddings cached (section 2, figures 2 and 8)."""

REFRAG_THROUGHPUT = 6.78
"""The most that throughput gains with compression 16 (section 2)."""

REFRAG_AT = 16_512
"""Our prompt for the paper's 16,384 tokens of context."""
