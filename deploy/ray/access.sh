# Read by the other scripts: nodes of the cluster ask each other for one token (it does not encrypt).
# RAY_AUTH_MODE=disabled, on every machine, lets in whoever reaches the ports.
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"

if [ "$RAY_AUTH_MODE" = token ] && [ -z "${RAY_AUTH_TOKEN:-}" ]; then
  # Ray itself would look there, too, and make a token of its own on some ways, which no other node has.
  RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-${HOME:-}/.ray/auth_token}"
  if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
    echo "$0: no token for the cluster: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it, the same on every machine (openssl rand -hex 32)" >&2
    exit 2
  fi
  export RAY_AUTH_TOKEN_PATH
fi
