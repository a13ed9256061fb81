"""Published figures and folklore, judged by what a run measured."""
