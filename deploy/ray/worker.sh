#!/bin/sh
# Joins this machine to the cluster as a node that holds shards, in the foreground.
set -eu

: "${CROSSFIX_RAY_ADDRESS:?address of the head, such as 10.0.0.1:6379}"
: "${RAY_BIND_ADDRESS:?the private address of this machine, such as 10.0.0.2}"
. "$(dirname "$0")/access.sh"

exec ray start --block \
  --address="$CROSSFIX_RAY_ADDRESS" --node-ip-address="$RAY_BIND_ADDRESS" \
  --node-manager-port=6380 --object-manager-port=6381 \
  --min-worker-port=10002 --max-worker-port=10999 \
  --object-store-memory=200000000 --disable-usage-stats
