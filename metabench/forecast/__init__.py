"""The time of a meta-iteration on devices that were not measured, by a model that was tested on others."""
