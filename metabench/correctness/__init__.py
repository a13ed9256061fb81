"""The proof that an implementation computes what its definition says, and the contract of every plug-in."""
