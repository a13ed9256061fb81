"""Stock modules of torch.nn as pure functions whose derivatives are exact on every engine."""
