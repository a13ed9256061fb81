"""Published figures and folklore, held against what a run measured."""
