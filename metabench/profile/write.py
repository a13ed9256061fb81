"""Writes a profile into a folder."""

import json
from pathlib import Path

from markupsafe import Markup, escape

from metabench.files import replace_file
from metabench.profile.advice import advice
from metabench.profile.facts import facts, warnings
from metabench.profile.measuring import Profile
from metabench.profile.pictures import pictures
from metabench.profile.plain_data import as_json
from metabench.profile.tables import files_table, memory_table, operators_table, phases_table, title
from metabench.profile.trace import folded, folded_text
from metabench.report.figures.base import FORMATS, PLOTS, image
from metabench.report.render.page import Part, page


def write_profile(profile: Profile, folder: Path) -> None:
    """profile.json, profile.html, trace.json, stacks.folded, and the figures in plots/. Raises `UserError`."""
    drawn = [(picture, {kind: image(picture, kind) for kind in FORMATS}) for picture in pictures(profile)]
    by_name = {picture.name: picture for picture, _ in drawn}
    parts = [
        Part("Phases", "", (phases_table(profile),), [by_name["phases"]]),
        Part("Operators", "", (operators_table(profile),), [by_name["flame"]] if "flame" in by_name else ()),
    ]
    if "memory" in by_name:
        parts.append(Part("Memory", "", (memory_table(profile),), [by_name["memory"]]))
    parts.append(Part("Files", "", (files_table(),)))
    said = [("advice", _with_code(advice(profile))), *facts(profile)]
    files = {
        "profile.json": json.dumps(as_json(profile), indent=2, allow_nan=False) + "\n",
        "profile.html": page(title(profile), said, warnings(profile), parts),
        "trace.json": profile.recording.text,
        "stacks.folded": folded_text(folded(profile.trace)),
        **{f"{PLOTS}/{picture.name}.csv": picture.csv() for picture, _ in drawn},
    }
    for name, text in files.items():
        replace_file(folder / name, text.encode())
    for picture, images in drawn:
        for kind, content in images.items():
            replace_file(folder / PLOTS / f"{picture.name}.{kind}", content)


def _with_code(text: str) -> Markup:
    """A text, escaped, in which commands between backticks are shown as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)
