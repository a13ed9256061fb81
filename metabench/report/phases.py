"""How a reader calls the phases of a meta-iteration, whose names in records are shorter."""

WORDS = {
    "query": "query loss (forward)",
    "average": "gradient averaging",
    "directions": "meta-gradients",
}


def phase_word(name: str) -> str:
    """The phase in the field's own words."""
    return WORDS.get(name, name)
