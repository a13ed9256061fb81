"""metabench from Python: what the commands do, for scripts and notebooks."""
