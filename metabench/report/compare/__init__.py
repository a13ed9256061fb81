"""Two runs or two revisions against each other, and many through time."""
