"""The lm-eval tasks, run by lm-eval itself, offline, on small random models."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from promethios.data.example import read_examples
from promethios.evaluation.harness.__main__ import TASKS

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def documents() -> ModuleType:
    """The tasks' functions, loaded from their file as lm-eval does."""
    spec = importlib.util.spec_from_file_location("decision_documents", TASKS / "decision_documents.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(out: Path, *arguments: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run lm-eval through our command; return the results of the only task and its logged samples."""
    command = [sys.executable, "-m", "promethios.evaluation.harness", "run", "--model", "hf", "--device", "cpu"]
    command += ["--batch_size", "8", "--output_path", str(out), "--log_samples", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **OFFLINE}, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = (json.loads(next(out.rglob("results_*.json")).read_text())["results"]).values()
    samples = [json.loads(line) for line in next(out.rglob("samples_*.jsonl")).read_text().splitlines()]
    return results, samples


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from promethios.model.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("llama")
    tokenizer = train_tokenizer(["answer caveat clarify escalate"] * 5, 512)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Promethios whose scores differ from request to request."""
    import torch

    from promethios.model.configuration import PromethiosConfig
    from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
    from promethios.model.tokenizer import reserved_ids, train_tokenizer

    folder = tmp_path_factory.mktemp("own")
    tokenizer = train_tokenizer(["May I take two tablets?"] * 5, 512)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = PromethiosConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        first_reserved_id=reserved_ids(tokenizer).first,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["PromethiosForCausalLM"],
    )
    model = PromethiosForCausalLM(config)
    torch.nn.init.normal_(model.governance_heads.weight)
    model.save_pretrained(folder)
    return folder


def test_a_document_states_rule_telemetry_and_conversation(documents: ModuleType, questions: Path) -> None:
    first = documents.in_words(data=str(questions))["test"][0]
    assert "trust: 0.2" in first["prompt"] and "May I take 0 tablets?" in first["prompt"]
    assert first["prompt"].endswith("\n\nDecision:")
    assert (first["gold"], first["escalate"], first["has_decision"]) == (3, 1, True)


def test_the_scores_follow_the_likelihoods(documents: ModuleType) -> None:
    doc = {"gold": 3, "escalate": 1, "has_decision": True}
    found = documents.scores(doc, [(-5.0, False), (-5.0, False), (-5.0, False), (-5.0 + np.log(3.0), True)])
    assert found["acc"] == found["escalate_acc"] == 1.0
    assert found["escalate_brier"] == pytest.approx(0.25)
    assert "acc" not in documents.scores({**doc, "has_decision": False}, [(-1.0, False)] * 4)


def test_f1_and_correlation_agree_with_scikit_learn(documents: ModuleType) -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef

    items = [(1, 1), (1, 0), (0, 0), (0, 1), (1, 1), (0, 0), (0, 0)]
    truth, decided = zip(*items, strict=True)
    assert documents.f1(items) == pytest.approx(f1_score(truth, decided))
    assert documents.mcc(items) == pytest.approx(matthews_corrcoef(truth, decided))
    assert documents.mcc([(1, 1), (1, 1)]) == 0.0


@pytest.mark.integration
def test_lm_eval_runs_a_task_on_any_model(questions: Path, llama: Path, tmp_path: Path) -> None:
    metadata = json.dumps({"data": str(questions)})
    arguments = ["--model_args", f"pretrained={llama}", "--tasks", "promethios_decision", "--metadata", metadata]
    results, samples = run(tmp_path / "out", *arguments, "--limit", "20")
    assert len(samples) == 20
    assert results["acc,none"] == pytest.approx(np.mean([sample["acc"] for sample in samples]))
    assert results["acc_stderr,none"] >= 0.0
    assert {"brier_score,none", "escalate_f1,none", "escalate_mcc,none"} <= set(results)


@pytest.mark.integration
def test_lm_eval_reads_the_scores_of_our_own_folder(questions: Path, own_folder: Path, tmp_path: Path) -> None:
    from promethios.model.scoring import score_examples

    metadata = json.dumps({"data": str(questions)})
    arguments = ["--model_args", f"pretrained={own_folder}", "--tasks", "promethios_native", "--metadata", metadata]
    _, samples = run(tmp_path / "out", *arguments)
    likelihoods = np.array([[float(choice[0]) for choice in sample["filtered_resps"]] for sample in samples])
    scores = score_examples(own_folder, read_examples(questions), progress=False)[:, :4]
    assert np.ptp(scores[:, 3]) > 0.01, "requests are told apart"
    difference = (likelihoods - likelihoods[:, :1]) - (scores - scores[:, :1])
    assert np.abs(difference).max() < 1e-3
