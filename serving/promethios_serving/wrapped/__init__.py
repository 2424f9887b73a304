"""Wrapped mode: governance in front of any OpenAI-compatible server, without torch and vLLM. README.md explains it."""
