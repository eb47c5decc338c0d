"""A container's HEALTHCHECK: 0 when /readyz answers 200, else 1 and one sentence.

It asks where CROSSFIX_HOST and CROSSFIX_PORT say. `http.client`, not urllib: that would ask the
proxy which HTTP_PROXY names.
"""

import http.client
import os
import sys

TIMEOUT_S = 3.0  # less than the Dockerfile's --timeout, so that the sentence is still printed
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def problem_at(host: str, port: int) -> str:
    """What is wrong with the service there; empty when nothing is."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as reason:
        return f"no answer from {host} port {port}: {reason}"
    finally:
        connection.close()
    return "" if status == 200 else f"/readyz answers {status}"


if __name__ == "__main__":
    asked = os.environ.get("CROSSFIX_HOST", "127.0.0.1")
    found = problem_at(ANY_ADDRESS.get(asked, asked), int(os.environ.get("CROSSFIX_PORT", "8000")))
    sys.stdout.write(f"{found or 'ready'}\n")
    sys.exit(1 if found else 0)
