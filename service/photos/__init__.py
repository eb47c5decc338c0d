"""From a request body to an answer."""
