"""Entry point `vllm.general_plugins`: teaches every vLLM process the model. Loaded more than once, so re-entrant."""

from __future__ import annotations

from importlib import import_module

from promethios.model.folder import ARCHITECTURE


def register() -> None:
    """Register the configuration and model classes with Hugging Face, and the served class with vLLM."""
    import_module("promethios.model.governance_sentinel_8b")
    from vllm import ModelRegistry

    # By name: vLLM imports the class only where it builds the model, and inspects it in a process of its own.
    ModelRegistry.register_model(ARCHITECTURE, "promethios_serving.vllm_model:PromethiosForVllm")
