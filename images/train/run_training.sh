#!/usr/bin/env bash
# The seed's training script: data if there is none, training on every GPU of the node, evaluation.
# Settings are environment variables; what follows on the command line goes to the training command.
#
#   PROMETHIOS_CONFIG   preset or YAML file       8b
#   PROMETHIOS_DATA     dataset folder            ./data/governance
#   PROMETHIOS_OUTPUT   model folder              ./models/promethios-governance-8b
#   PROMETHIOS_NPROC    processes on this node    one for each GPU, or 1
set -euo pipefail

config=${PROMETHIOS_CONFIG:-8b}
data=${PROMETHIOS_DATA:-./data/governance}
output=${PROMETHIOS_OUTPUT:-./models/promethios-governance-$config}
nproc=${PROMETHIOS_NPROC:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}

[ -f "$data/DATASET.sha256" ] || promethios generate --output_dir "$data"

# Resumes from the newest whole checkpoint in $output; safe to start again after any failure.
torchrun --standalone --nproc_per_node="$nproc" -m promethios.train_governance_model \
  --config "$config" --data_dir "$data" --output_dir "$output" "$@"

promethios evaluate --model_path "$output" --data_dir "$data"
