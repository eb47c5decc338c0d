"""A sharded gallery as the service asks it: in this process, or on the nodes of a Ray cluster."""
