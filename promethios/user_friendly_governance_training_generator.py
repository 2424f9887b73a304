"""Write a governance dataset: requests with telemetry, what to decide about each, and a friendly response that fits.

    promethios generate
    promethios generate --output_dir data/small --num_examples 1000 --seed 7
    promethios generate --paraphrase_model qwen3-8b --paraphrase_url http://127.0.0.1:8000/v1

`promethios/data/README.md` describes the world that the data come from, and the files.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from tqdm import tqdm

from promethios.cli import run_command
from promethios.data.card import render_card
from promethios.data.ceilings import ceilings, channel_distances, view_of_all
from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.competence import OUTCOME_NOISE
from promethios.data.example import Example
from promethios.data.folder import (
    CARD,
    CEILINGS,
    DEFAULT_DATA_DIR,
    HASHES,
    SPLITS,
    check_output_folder,
    write_dataset,
)
from promethios.data.generate import ExampleWriter
from promethios.data.leakage import check_no_repeats
from promethios.data.mixture import DATASET_VERSION, QUOTA_STEP
from promethios.data.paraphrase import DEFAULT_CACHE_DIR, Paraphrased, paraphrase_responses
from promethios.data.parquet import can_write_parquet, parquet_bytes
from promethios.data.splits import FULL_TRAIN, PLANS, Part, draw_split, sizes_for
from promethios.errors import DatasetError
from promethios.ontology.governance_ontology import load_ontology

MAX_SIZE: Final = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=DEFAULT_DATA_DIR,
        metavar="DIR",
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: %(default)s)")
    parser.add_argument(
        "--num_examples",
        type=int,
        default=FULL_TRAIN,
        metavar="N",
        help="training examples; with fewer than the default, all other splits shrink in proportion "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--paraphrase_model",
        metavar="NAME",
        help="put the training responses in other words with this model's replies (default: they stay as they are)",
    )
    parser.add_argument(
        "--paraphrase_url",
        metavar="URL",
        help="OpenAI-compatible URL where the model answers, such as http://127.0.0.1:8000/v1; not needed when every "
        "reply is in the cache",
    )
    parser.add_argument(
        "--paraphrase_key_variable",
        metavar="ENV",
        help="environment variable that holds the key for the URL (default: no key is sent)",
    )
    parser.add_argument(
        "--paraphrase_cache",
        type=Path,
        default=DEFAULT_CACHE_DIR,
        metavar="DIR",
        help="folder of the model's replies; with them a dataset is built again, byte for byte (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the dataset and say what was written; returns 0. Raises DatasetError for options that cannot be met."""
    started = time.perf_counter()
    if args.num_examples % QUOTA_STEP or not QUOTA_STEP <= args.num_examples <= MAX_SIZE:
        raise DatasetError(
            f"--num_examples {args.num_examples}: the quotas 30/40/20/10 need a multiple of {QUOTA_STEP}, "
            f"from {QUOTA_STEP} to {MAX_SIZE}"
        )
    check_output_folder(args.output_dir)
    endpoint = _paraphrase_endpoint(args)
    examples, measured = build_dataset(args.seed, args.num_examples)
    paraphrased = None
    if args.paraphrase_model:
        train, paraphrased = paraphrase_responses(
            examples["train"], args.paraphrase_model, args.paraphrase_cache, endpoint
        )
        examples = {**examples, "train": train}
    with_parquet = can_write_parquet()
    contents = dataset_contents(examples, measured, args.seed, with_parquet=with_parquet, paraphrased=paraphrased)
    digest = write_dataset(args.output_dir, contents)
    seconds = time.perf_counter() - started
    total = sum(map(len, examples.values()))
    sys.stdout.write(f"wrote {total} examples to {args.output_dir} in {seconds:.1f} s (dataset {digest[:12]})\n")
    for split, of_split in examples.items():
        sys.stdout.write(f"  {split}.jsonl: {len(of_split)} examples\n")
    if paraphrased:
        done, out_of = paraphrased.num_paraphrased, paraphrased.num_responses
        sys.stdout.write(f"  {done} of {out_of} training responses in the words of {paraphrased.model}\n")
    twins = "the same as Parquet" if with_parquet else "not written, pyarrow is not installed"
    sys.stdout.write(f"  parquet/: {twins}\n")
    sys.stdout.write(f"  {CARD}, {CEILINGS}, {HASHES}: the card, what is possible on the tests, and the hashes\n")
    return 0


def _paraphrase_endpoint(args: argparse.Namespace) -> ChatEndpoint | None:
    """Return where to ask for paraphrases, None when nowhere. Raises DatasetError for options that do not fit."""
    if not args.paraphrase_model:
        for name in ("paraphrase_url", "paraphrase_key_variable"):
            if getattr(args, name):
                raise DatasetError(f"--{name} needs --paraphrase_model: the name of a model at the URL")
        return None
    variable = args.paraphrase_key_variable
    if variable and not os.environ.get(variable):
        raise DatasetError(f"--paraphrase_key_variable {variable}: that environment variable is not set, or empty")
    if not args.paraphrase_url:
        return None
    return ChatEndpoint(args.paraphrase_url, args.paraphrase_model, os.environ[variable] if variable else None)


Examples = Mapping[str, Sequence[Example]]
Measured = Mapping[str, Mapping[str, object]]


def build_dataset(seed: int, num_train: int) -> tuple[Examples, Measured]:
    """Return the examples of every split, and what was measured on those that have something to measure.

    num_train: a multiple of QUOTA_STEP. Raises DatasetError when a prompt of training is repeated in another split.
    """
    ontology = load_ontology()
    sizes = sizes_for(num_train)
    examples: dict[str, list[Example]] = {}
    measured: dict[str, Mapping[str, object]] = {}
    with _progress(sum(size * (2 if PLANS[name].pair_kinds else 1) for name, size in sizes.items())) as bar:
        for name in SPLITS:
            bar.set_description(name)
            writer, parts = ExampleWriter(name, ontology), list(draw_split(name, seed, sizes[name], ontology))
            examples[name] = []
            start = 1
            for part in parts:
                for example in writer.examples(part, start):
                    examples[name].append(example)
                    bar.update()
                start += len(part.members[0])
            measured |= _measured(name, parts)
            if bar.disable:
                sys.stderr.write(f"{name}: {len(examples[name])} examples\n")
    check_no_repeats(examples)
    return examples, measured


def dataset_contents(
    examples: Examples, measured: Measured, seed: int, *, with_parquet: bool, paraphrased: Paraphrased | None = None
) -> dict[str, str | bytes]:
    """Return the content of every file of a dataset but its hashes.

    with_parquet: the twins too, which take pyarrow. paraphrased: what became of the training responses.
    """
    contents: dict[str, str | bytes] = {
        f"{name}.jsonl": "".join(f"{example.to_json_line()}\n" for example in of_split)
        for name, of_split in examples.items()
    }
    if with_parquet:
        contents |= {f"parquet/{name}.parquet": parquet_bytes(of_split) for name, of_split in examples.items()}
    options = f"--seed {seed} --num_examples {len(examples['train'])}"
    if paraphrased:
        options += f" --paraphrase_model {shlex.quote(paraphrased.model)}"
    about = {"dataset_version": DATASET_VERSION, "seed": seed, **measured}
    contents[CARD] = render_card(
        examples, measured, options, OUTCOME_NOISE, with_parquet=with_parquet, paraphrased=paraphrased
    )
    contents[CEILINGS] = json.dumps(about, indent=2) + "\n"
    return contents


def _measured(name: str, parts: Sequence[Part]) -> Measured:
    first = parts[0]
    if name == "train":
        return {name: {"channel_distances": channel_distances(first.members[0])}}
    if name.startswith("test"):
        return {name: ceilings(first.split, first.members[0])}
    if first.kind is not None or name == "tool_use":
        return {name: {part.kind or name: view_of_all(part.members) for part in parts}}
    return {}


def _progress(total: int) -> tqdm[NoReturn]:
    return tqdm(total=total, unit=" examples", disable=not sys.stderr.isatty(), leave=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
