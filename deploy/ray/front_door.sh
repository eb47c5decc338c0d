#!/bin/sh
# Joins this machine (or container) to the cluster without offering it room for shards, which
# Ray needs before a program here may use the cluster; then serves. Arguments go to the service.
set -eu

: "${CROSSFIX_RAY_ADDRESS:?address of the head, such as 10.0.0.1:6379}"
export CROSSFIX_RAY_ADDRESS CROSSFIX_ENGINE=ray RAY_USAGE_STATS_ENABLED=0

ray start --address="$CROSSFIX_RAY_ADDRESS" \
  ${RAY_BIND_ADDRESS:+--node-ip-address="$RAY_BIND_ADDRESS"} \
  --num-cpus=0 --memory=0 --object-store-memory=200000000 --disable-usage-stats

exec python -m service "$@"
