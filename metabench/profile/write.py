"""Writes a profile into a folder."""

import json
from pathlib import Path

from metabench.files import replace_file
from metabench.profile.measuring import Profile
from metabench.profile.pictures import pictures
from metabench.profile.tables import as_json, facts, memory_table, operators_table, phases_table, title, warnings
from metabench.profile.trace import folded, folded_text
from metabench.report.figures.base import FORMATS, image
from metabench.report.render.page import Part, page
from metabench.report.render.tables import plain
from metabench.text import one_line


def write_profile(profile: Profile, folder: Path) -> None:
    """profile.json, profile.html, trace.json, stacks.folded and the pictures. Raises `UserError`."""
    drawn = [(picture, {kind: image(picture, kind) for kind in FORMATS}) for picture in pictures(profile)]
    by_name = {picture.name: (picture, images["svg"]) for picture, images in drawn}
    parts = [
        Part("Phases", "", (phases_table(profile),), [by_name["phases"]]),
        Part("Operators", "", (operators_table(profile),), [by_name["flame"]] if "flame" in by_name else ()),
    ]
    if "memory" in by_name:
        parts.append(Part("Memory", "", (memory_table(profile),), [by_name["memory"]]))
    files = {
        "profile.json": json.dumps(as_json(profile), indent=2, allow_nan=False) + "\n",
        "profile.html": page(title(profile), facts(profile), warnings(profile), parts),
        "trace.json": profile.text,
        "stacks.folded": folded_text(folded(profile.trace)),
        **{f"{picture.name}.csv": picture.csv() for picture, _ in drawn},
    }
    for name, text in files.items():
        replace_file(folder / name, text.encode())
    for picture, images in drawn:
        for kind, content in images.items():
            replace_file(folder / f"{picture.name}.{kind}", content)


def as_text(profile: Profile) -> str:
    """The summary for a terminal."""
    said = facts(profile)
    width = max(len(name) for name, _ in said)
    lines = [one_line(title(profile)), *(f"  {name:<{width}}  {one_line(value)}" for name, value in said)]
    lines += [f"warning: {one_line(sentence)}" for sentence in warnings(profile)]
    shown = [phases_table(profile), operators_table(profile)]
    return "\n\n".join(["\n".join(lines), *map(plain, shown), plain(memory_table(profile))])
