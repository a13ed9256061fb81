"""Meta-learning algorithms: the mathematics alone, a file each. No timing, no device, no input or output."""
