#!/bin/sh
# Starts the head of the Ray cluster on this machine, in the foreground. It holds no shard: without
# its head a cluster is lost, so nothing heavy runs beside it.
set -eu

: "${RAY_BIND_ADDRESS:?the private address of this machine, such as 10.0.0.1}"
. "$(dirname "$0")/access.sh"

exec ray start --head --block \
  --node-ip-address="$RAY_BIND_ADDRESS" --port="${RAY_PORT:-6379}" \
  --node-manager-port=6380 --object-manager-port=6381 \
  --min-worker-port=10002 --max-worker-port=10999 \
  --num-cpus=0 --object-store-memory=200000000 \
  --include-dashboard=false --disable-usage-stats
