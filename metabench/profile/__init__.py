"""Where the time and the memory of a meta-iteration go: one implementation, in one setting, in this process."""
