"""Around every request: limits, headers, errors, the server."""
