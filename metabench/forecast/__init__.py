"""What a meta-iteration would take on devices that were not measured, by a model that was held against what was."""
