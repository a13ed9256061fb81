"use strict";
// Sorts a table by a column, filters rows, and leads from a row to the measurements behind it. The page reads without.

const byText = new Intl.Collator("en", { numeric: true });

function sortKey(row, column, numeric) {
  const cell = row.cells[column];
  if (!numeric) return /^[–\s]*$/.test(cell.textContent) ? null : cell.textContent;
  return "value" in cell.dataset ? Number(cell.dataset.value) : null;
}

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const direction = heads[column].ariaSort === "ascending" ? "descending" : "ascending";
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const numeric = rows.some((row) => "value" in row.cells[column].dataset);
  const keyed = rows.map((row) => [sortKey(row, column, numeric), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // what has no figure comes last either way
    return sign * (numeric ? a - b : byText.compare(a, b));
  });
  body.append(...keyed.map(([, row]) => row));
  for (const head of heads) if (head.ariaSort) head.ariaSort = "none";
  heads[column].ariaSort = direction;
}

for (const table of document.querySelectorAll("table")) {
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    if (head.classList.contains("cells")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column));
    head.append(button);
    head.ariaSort = "none";
  }
}

const field = document.querySelector(".filter input");
const count = document.querySelector(".filter output");
let texts = null; // of all rows, read when the field is first used

function readTexts() {
  return [...document.querySelectorAll("section.table")].map((section) => {
    const title = section.querySelector("h3").textContent;
    const rows = [...section.querySelectorAll("tbody tr")];
    const text = (row) => [title, ...[...row.cells].map((cell) => cell.textContent)].join(" ").toLowerCase();
    return { section, rows: rows.map((row) => [row, text(row)]) };
  });
}

function filter() {
  texts ??= readTexts();
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  let all = 0;
  for (const { section, rows } of texts) {
    let here = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      here += !row.hidden;
    }
    section.hidden = words.length > 0 && here === 0;
    if (section.closest(".appendix")) continue; // every row of a table stands on some of these
    shown += here;
    all += rows.length;
  }
  count.value = words.length ? `${shown} of ${all} rows` : "";
}

if (field) {
  field.closest(".filter").hidden = false;
  field.addEventListener("input", filter);
}

function showNamed() {
  const target = /^#cell-/.test(location.hash) && document.getElementById(location.hash.slice(1));
  if (!target) return;
  if (target.hidden) {
    field.value = "";
    filter();
  }
  target.closest("details.appendix").open = true;
  for (const row of target.parentElement.rows) row.classList.toggle("named", row.dataset.cell === target.dataset.cell);
  target.scrollIntoView({ block: "center" });
}

window.addEventListener("hashchange", showNamed);
document.addEventListener("click", (event) => {
  if (event.target.hash && event.target.hash === location.hash) showNamed(); // clicked again: no change of the hash
});
showNamed();
