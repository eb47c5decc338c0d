#!/bin/sh
# Joins this machine (or container) to the cluster without offering it room for shards, which
# Ray needs before a program here may use the cluster; then serves. Arguments go to the service.
set -eu

: "${CROSSFIX_RAY_ADDRESS:?address of the head, such as 10.0.0.1:6379}"
. "$(dirname "$0")/access.sh"
export CROSSFIX_RAY_ADDRESS CROSSFIX_ENGINE=ray

ray start --address="$CROSSFIX_RAY_ADDRESS" \
  ${RAY_BIND_ADDRESS:+--node-ip-address="$RAY_BIND_ADDRESS"} \
  --node-manager-port=6380 --object-manager-port=6381 \
  --min-worker-port=10002 --max-worker-port=10999 \
  --num-cpus=0 --memory=0 --object-store-memory=200000000 --disable-usage-stats

exec python -m service "$@"
