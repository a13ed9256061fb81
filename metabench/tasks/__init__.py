"""Task distributions: where tasks come from. Every file of this package that defines one registers it."""
