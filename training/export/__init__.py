"""From weights to an encoder artifact."""
