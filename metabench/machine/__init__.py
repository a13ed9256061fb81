"""The machine: what it is, what else runs on it, what it allows."""
