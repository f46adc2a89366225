"""bros_sim: which scheduler lets interactive and batch LLM requests share the same GPUs?"""

__version__ = "0.1.0"
