"use strict";
// Copies a table, with the rows that are shown and in their order, as CSV, Markdown or LaTeX.

const told = document.querySelector("output.told");

function tell(text) {
  told.value = text;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => (told.value = ""), 4000);
}

function gridOf(table) {
  const kept = (cell) => !cell.classList.contains("cells");
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => [...row.cells].filter(kept));
  const heads = [...table.tHead.rows[0].cells].filter(kept);
  return [heads, ...rows].map((cells) => cells.map((cell) => ({ text: cell.textContent.trim(), value: cell.dataset.value })));
}

// A column of figures is followed by their values, in seconds, in bytes, or as they are, for a spreadsheet.
function asCsv(section) {
  const [heads, ...rows] = gridOf(section.querySelector("table"));
  const valued = heads.map((_, place) => rows.some((row) => row[place]?.value !== undefined && row[place].value !== row[place].text));
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (cells, more) => cells.flatMap((cell, i) => (valued[i] ? [cell.text, more(cell)] : [cell.text])).map(quoted).join(",");
  return [line(heads, (head) => `${head.text}: value`), ...rows.map((row) => line(row, (cell) => cell.value ?? ""))].join("\n") + "\n";
}

function asMarkdown(section) {
  const escaped = (text) => text.replace(/([\\|<*_`~$]|&(?=[#\w])|\](?=[(\[:])|:(?=\/\/))/g, "\\$1");
  const [heads, ...rows] = gridOf(section.querySelector("table")).map((cells) => cells.map((cell) => escaped(cell.text)));
  const lines = [heads, heads.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return [`**${escaped(section.querySelector("h3").textContent)}**`, "", ...lines, ""].join("\n");
}

// The signs are those of tables.tex.
function latex(text) {
  const sign = (one) => data.latex[one] ?? (/[\x00-\x7f]/.test(one) || /[\u0080-\u017f]/.test(one) && /\p{L}/u.test(one) ? one
    : `\\texttt{U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}}`);
  const parts = text.normalize("NFC").split(/(?<=-)(?=-)|(?<=,)(?=,)|(?<=[!?])(?=[`'])/); // that would be drawn as one
  return parts.map((part) => [...part].map(sign).join("")).join("{}");
}

function asLatex(section) {
  const [heads, ...rows] = gridOf(section.querySelector("table")).map((cells) => {
    const line = cells.map((cell) => latex(cell.text)).join(" & ");
    return (/^[[*]/.test(line) ? "{}" : "") + line + " \\\\"; // else an option of the row before
  });
  const caption = [section.querySelector("h3"), ...section.querySelectorAll(".says, .notes p")].map((part) => part.textContent);
  return [
    "% needs \\usepackage{booktabs} and \\usepackage{amssymb}",
    "\\begin{table}[htbp]",
    "\\centering",
    `\\caption{${caption.map((text) => latex(/[.…]$/.test(text) ? text : `${text}.`)).join(" ")}}`,
    `\\begin{tabular}{${"l".repeat(gridOf(section.querySelector("table"))[0].length)}}`,
    ...["\\toprule", heads, "\\midrule", ...rows, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""],
  ].join("\n");
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea"); // a page from a file may not be let at the clipboard
    area.value = text;
    area.style.position = "fixed"; // at the end of the page it would be scrolled to
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

const formats = { CSV: asCsv, Markdown: asMarkdown, LaTeX: asLatex };

for (const table of document.querySelectorAll("section.table table")) {
  const section = table.closest("section.table");
  const menu = document.createElement("details");
  menu.className = "copy";
  const summary = document.createElement("summary");
  summary.textContent = "Copy";
  summary.ariaLabel = `Copy the table: ${section.querySelector("h3").textContent}`;
  menu.append(summary);
  summary.addEventListener("click", () => {
    if (menu.children.length > 1) return; // made when it is first opened: a page has many tables
    const items = document.createElement("div");
    for (const [name, write] of Object.entries(formats)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", async () => {
        const done = await toClipboard(write(section));
        menu.open = false;
        tell(done ? `Copied as ${name}` : "This browser did not let the page copy");
      });
      items.append(button);
    }
    menu.append(items);
  });
  section.querySelector("h3").after(menu);
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.copy[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.copy[open]")) menu.open = false;
});
