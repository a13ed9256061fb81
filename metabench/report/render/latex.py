"""The tables as LaTeX, to be cited in a paper: each says in its caption where its figures are from."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from metabench.report.document import Document
from metabench.report.render.tables import Table
from metabench.text import one_line

HEAD = r"""% Tables of a metabench run. In the preamble, for pdfLaTeX, LuaLaTeX or XeLaTeX of 2020 or newer:
%   \usepackage[T1]{fontenc}
%   \usepackage{amssymb}    % signs
%   \usepackage{booktabs}   % rules
%   \usepackage{adjustbox}  % wide tables are made smaller, to the width of the line
"""
SOURCES = ("machine", "data")
"""The facts of a document that stand in every caption, beside the revision."""
_TEXT = r"""
\ textbackslash  ^ textasciicircum  ~ textasciitilde  < textless  > textgreater  | textbar
" textquotedbl  ' textquotesingle  ` textasciigrave  – textendash  — textemdash  … ldots
† dag  ‡ ddag  § S  ° textdegree  µ textmu  μ textmu
"""
_MATHS = """
± pm  × times  ÷ div  ≈ approx  ≤ leq  ≥ geq  → rightarrow  √ surd  α alpha  θ theta  β beta
● bullet  ○ circ  ▲ blacktriangle  ▼ blacktriangledown
"""


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    words = text.split()
    return zip(words[::2], words[1::2], strict=True)


SIGNS = {
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    **{sign: f"\\{name}{{}}" for sign, name in _pairs(_TEXT)},
    **{sign: f"$\\{name}$" for sign, name in _pairs(_MATHS)},
    "−": "$-$",
}
_LIGATURES = re.compile(r"-(?=-)|,(?=,)|[!?](?=[`'])")
"""What two signs in a row would be drawn as one for."""
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9]+")
LAST_LATIN = "\u017f"  # letters up to here are in every font of T1


def latex(text: str) -> str:
    """One line of LaTeX that shows `text` as written; a letter that few fonts have, by its number."""
    line = _LIGATURES.sub("\\g<0>\0", unicodedata.normalize("NFC", one_line(text)))
    return "".join(_sign(sign) for sign in line)


def _sign(sign: str) -> str:
    if sign == "\0":
        return "{}"
    if sign in SIGNS:
        return SIGNS[sign]
    if sign.isascii() or (sign.isalpha() and sign <= LAST_LATIN):
        return sign
    return f"\\texttt{{U+{ord(sign):04X}}}"


def as_latex(shown: Document, revision: str) -> str:
    """The text of `tables.tex`: a float for each table that has rows, with the labels tab:RUN:1, tab:RUN:2, …"""
    facts = dict(shown.facts)
    source = [f"{name}: {facts[name]}" for name in SOURCES if name in facts] + [f"revision: {revision}"]
    tables = [table for section in shown.sections for table in section.tables if table.rows]
    run = _NOT_IN_LABELS.sub("-", facts.get("run", "run"))
    floats = [_float(table, f"tab:{run}:{number}", source) for number, table in enumerate(tables, 1)]
    return "\n".join([HEAD + f"% {latex(shown.title)}", *floats])


def _float(table: Table, label: str, source: Sequence[str]) -> str:
    said = " ".join(_sentence(text) for text in (table.title, table.says, *table.notes, "; ".join(source)) if text)
    lines = [r"\begin{table}[htbp]", r"\centering", f"\\caption{{{said}}}", f"\\label{{{label}}}"]
    lines += [
        r"\begin{adjustbox}{max width=\linewidth, max totalheight=0.8\textheight}",
        f"\\begin{{tabular}}{{{'l' * len(table.columns)}}}",
        *(r"\toprule", _row(table.columns), r"\midrule"),
        *map(_row, table.rows),
        *(r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", r"\end{table}", ""),
    ]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return latex(text if text.endswith((".", "…")) else f"{text}.")


def _row(cells: Sequence[str]) -> str:
    line = " & ".join(map(latex, cells))
    # after a row's end a bracket or a star would be read as an option of it
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"
