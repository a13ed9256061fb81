"""The clauses of the contracts: one function for each promise, in a module for each kind of plug-in."""
