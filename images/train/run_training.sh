#!/usr/bin/env bash
# The entry of a training pod, and the same on one machine: data if there is none, what a hub's reviewers did if there is
# a hub, training on every GPU of the node, evaluation. What follows on the command line goes to the training command.
# `run_training.sh data`, a pod's init step, only makes the data, and succeeds in any case: whatever fails there, the
# whole script finds again, and reports.
# Settings are environment variables; promethios/training/README.md lists them and the exit codes.
set -euo pipefail

config=${PROMETHIOS_CONFIG:-8b}
data=${PROMETHIOS_DATA:-./data/governance}
output=${PROMETHIOS_OUTPUT:-./models/promethios-governance-$config}

# A shell in the foreground, as process 1 is, would keep signals to itself: each goes on to the command that runs.
# Job control puts that into a process group of its own, so that Ctrl-C reaches it once, not twice.
set -m
child= signal=
forward() {
  signal=$1
  [ -n "$child" ] || exit "$((128 + $(kill -l "$signal")))"
  kill -s "$signal" -- "-$child" 2>/dev/null || true
}
trap 'forward TERM' TERM
trap 'forward INT' INT

run() {
  local code
  "$@" &
  child=$!
  while true; do
    signal= code=0
    wait "$child" || code=$?
    [ -n "$signal" ] || break # else it was a signal that ended the waiting, not the command
  done
  child=
  [ "$code" = 0 ] || exit "$code"
}

# The training operator looks at the training container's exit code only: a pod whose init step fails is made anew for ever.
if [ "${1:-}" = data ]; then trap '[ "$?" -ge 128 ] || exit 0' EXIT; fi

# make_once FOLDER HASHES COMMAND...: the first node makes the folder with COMMAND --output_dir, the others wait for it.
# Under another name first: a folder of that name is whole, whenever this is killed. Two pods may be at it at once, since
# an init container is not told its node's rank; the first to be done counts.
make_once() {
  local folder=$1 hashes=$1/$2 partial=$1.partial-$HOSTNAME
  shift 2
  if [ -f "$hashes" ]; then return; fi
  if [ "${PET_NODE_RANK:-0}" != 0 ]; then
    echo "waiting for $hashes, which the first node makes" >&2
    until [ -f "$hashes" ]; do run sleep 1; done
    return
  fi
  rm -rf "$partial"
  run "$@" --output_dir "$partial"
  if ! mv -T "$partial" "$folder" && [ ! -f "$hashes" ]; then
    rm -rf "$partial"
    exit 2
  fi
  rm -rf "$partial"
}

make_once "$data" DATASET.sha256 \
  promethios generate ${PROMETHIOS_NUM_EXAMPLES:+--num_examples "$PROMETHIOS_NUM_EXAMPLES"}
examples=$(wc -l <"$data/train.jsonl")
if [ "${PROMETHIOS_NUM_EXAMPLES:-$examples}" != "$examples" ]; then
  echo "error: PROMETHIOS_NUM_EXAMPLES=$PROMETHIOS_NUM_EXAMPLES, but $data, which other runs share, holds $examples;" \
    "set it to that, or give another PROMETHIOS_DATA" >&2
  exit 2
fi
if [ "${1:-}" = data ]; then exit; fi

# As it is when the run begins: an attempt that goes on from a checkpoint learns from the same.
feedback=
if [ -n "${PROMETHIOS_HUB_URL:-}" ]; then
  feedback=${PROMETHIOS_FEEDBACK:-$output-feedback}
  mkdir -p "$(dirname "$feedback")"
  make_once "$feedback" FEEDBACK.sha256 promethios feedback export --hub "$PROMETHIOS_HUB_URL"
fi

gates=()
if [ "${PROMETHIOS_REQUIRE_GATES:-true}" = false ]; then gates=(--ignore_gates); fi

# Resumes from the newest verified checkpoint; safe to start again after any failure.
run python -m promethios.training_attempt --output_dir "$output" --data_dir "$data" "${gates[@]}" \
  ${PROMETHIOS_NPROC:+--nproc_per_node "$PROMETHIOS_NPROC"} \
  ${PROMETHIOS_MAX_ATTEMPTS:+--max_attempts "$PROMETHIOS_MAX_ATTEMPTS"} \
  ${PROMETHIOS_NODE:+--node "$PROMETHIOS_NODE"} \
  ${PROMETHIOS_TERMINATION_LOG:+--termination_log "$PROMETHIOS_TERMINATION_LOG"} \
  -- --config "$config" \
  ${feedback:+--feedback_dir "$feedback"} \
  ${PROMETHIOS_CHECKPOINT_STORE:+--checkpoint_store "$PROMETHIOS_CHECKPOINT_STORE"} \
  ${PROMETHIOS_CHECKPOINT_STAGING:+--checkpoint_staging "$PROMETHIOS_CHECKPOINT_STAGING"} \
  "$@"
