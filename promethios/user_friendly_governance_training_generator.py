"""Write a governance dataset: requests with telemetry, what to decide about each, and a friendly response that fits.

    promethios generate
    promethios generate --output_dir data/small --num_examples 1000 --seed 7

`promethios/data/README.md` describes the world that the data come from, and the files.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from tqdm import tqdm

from promethios.cli import run_command
from promethios.data.card import render_card
from promethios.data.ceilings import ceilings
from promethios.data.competence import OUTCOME_NOISE
from promethios.data.example import Example
from promethios.data.folder import CARD, CEILINGS, DEFAULT_DATA_DIR, HASHES, SPLITS, check_output_folder, write_dataset
from promethios.data.generate import examples_of, open_split
from promethios.data.mixture import DATASET_VERSION, QUOTA_STEP
from promethios.errors import DatasetError
from promethios.ontology.governance_ontology import load_ontology

SIZE_OPTIONS: Final = {
    "train": ("--num_examples", 10_000),
    "validation": ("--num_validation", 1_000),
    "calibration": ("--num_calibration", 2_000),
    "test": ("--num_test", 2_000),
    "test_held_out_domains": ("--num_held_out", 1_000),
}
"""The option and the default size of each split."""
MIN_MEASURED: Final = 100
"""Test splits have at least this many examples: ceilings are measured on them."""
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
    for split, (option, size) in SIZE_OPTIONS.items():
        parser.add_argument(
            option, type=int, default=size, metavar="N", help=f"size of the split {split} (default: %(default)s)"
        )


def run(args: argparse.Namespace) -> int:
    """Write the dataset and say what was written; returns 0. Raises DatasetError for options that cannot be met."""
    started = time.perf_counter()
    sizes = {split: _checked_size(split, getattr(args, option[2:])) for split, (option, _) in SIZE_OPTIONS.items()}
    check_output_folder(args.output_dir)
    contents = dataset_contents(args.seed, sizes)
    digest = write_dataset(args.output_dir, contents)
    seconds = time.perf_counter() - started
    total = sum(sizes.values())
    sys.stdout.write(f"wrote {total} examples to {args.output_dir} in {seconds:.1f} s (dataset {digest[:12]})\n")
    for split, size in sizes.items():
        sys.stdout.write(f"  {split}.jsonl: {size} examples\n")
    sys.stdout.write(f"  {CARD}, {CEILINGS}, {HASHES}: the card, what is possible on the tests, and the hashes\n")
    return 0


def dataset_contents(seed: int, sizes: dict[str, int]) -> dict[str, str]:
    """Return the text of every file of a dataset but its hashes. sizes: of every split of SPLITS, multiples of 10."""
    ontology = load_ontology()
    examples: dict[str, list[Example]] = {}
    measured = {}
    with _progress(sum(sizes.values())) as bar:
        for name in SPLITS:
            bar.set_description(name)
            split = open_split(name, seed, ontology)
            candidates = split.sample(sizes[name])
            examples[name] = []
            for example in examples_of(split, candidates, ontology):
                examples[name].append(example)
                bar.update()
            if name.startswith("test"):
                measured[name] = ceilings(split, candidates)
            if bar.disable:
                sys.stderr.write(f"{name}: {sizes[name]} examples\n")
    lines = {
        f"{name}.jsonl": "".join(f"{example.to_json_line()}\n" for example in of_split)
        for name, of_split in examples.items()
    }
    options = " ".join(f"{option} {sizes[name]}" for name, (option, _) in SIZE_OPTIONS.items())
    about = {"dataset_version": DATASET_VERSION, "seed": seed, **measured}
    return {
        **lines,
        CARD: render_card(examples, measured, f"--seed {seed} {options}", OUTCOME_NOISE),
        CEILINGS: json.dumps(about, indent=2) + "\n",
    }


def _progress(total: int) -> tqdm[NoReturn]:
    return tqdm(total=total, unit=" examples", disable=not sys.stderr.isatty(), leave=False)


def _checked_size(split: str, size: int) -> int:
    least = MIN_MEASURED if split.startswith("test") else QUOTA_STEP
    if size % QUOTA_STEP or not least <= size <= MAX_SIZE:
        raise DatasetError(
            f"{SIZE_OPTIONS[split][0]} {size}: the quotas 30/40/20/10 need a multiple of {QUOTA_STEP}, "
            f"from {least} to {MAX_SIZE}"
        )
    return size


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
