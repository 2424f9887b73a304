"""The vLLM plugin and the inference wrapper around stock vLLM."""
