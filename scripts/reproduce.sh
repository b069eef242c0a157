#!/usr/bin/env bash
# Runs the comparisons behind docs/results one after the other, the first pages first; what the store holds already is not run again.
#   bash scripts/reproduce.sh PATH/TO/TASKS runs                        one run at a time
#   JOBS=16 bash scripts/reproduce.sh PATH/TO/TASKS runs --targets.seeds 0 1 2     16 processes (on a GPU: under NVIDIA's multi-process service), three seeds
set -euo pipefail
cd "$(dirname "$0")/.."
data="${1:?the folder of the tasks}" out="${2:?the folder of the runs}"
shift 2
float32=(default_one default_auto default_trained default_trained_low default_version_0_1 default_fresh_one default_fresh default_fresh_trained default_loras default_loras_all_linear
  glue_minilm_converged glue_minilm_converged_random default_random default_random_low)
bf16=(glue_minilm glue_minilm_two glue_minilm_k glue_minilm_average glue_minilm_full)
export OMP_NUM_THREADS=1
compare() {  # precision, name, further options
  accelerate launch --mixed_precision "$1" --num_processes 1 --num_machines 1 --dynamo_backend no -m scalearn compare "scripts/$2.yaml" \
    --data "$data" --out "$out/$2" --store "$out/store" --jobs "${JOBS:-1}" "${@:3}"
}
for name in "${float32[@]}"; do compare no "$name" "$@"; done
for name in "${bf16[@]}"; do compare bf16 "$name" "$@"; done
