#!/usr/bin/env bash
# One comparison over several processes: GPUs where there are any, otherwise CPUs. More arguments go to `scalearn compare`.
#   bash examples/several_gpus.sh 4 --out runs/four
# With CPUs, `accelerate launch --cpu --num_processes 2` would silently start one process; this form starts as many as it says.
set -euo pipefail
processes="${1:-2}"
shift || true
[ $# -gt 0 ] || set -- --out runs/several
exec accelerate launch --multi_gpu --num_processes "$processes" --num_machines 1 --main_process_port 0 --mixed_precision no --dynamo_backend no \
  -m scalearn compare quickstart "$@"
