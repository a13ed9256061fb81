"""Networks as pure functions of named tensors; every file of this package registers its named sizes."""
