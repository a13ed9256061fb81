"use strict";
// A click on the head of a column sorts a table by it.

const byText = new Intl.Collator("en", { numeric: true });
const sorted = new Map(); // key of a table → "column+" or "column-"

function sortKey(row, column, numeric) {
  const cell = row.cells[column];
  if (!numeric) return /^[–\s]*$/.test(cell.textContent) ? null : cell.textContent;
  return "value" in cell.dataset ? Number(cell.dataset.value) : null;
}

function keyOf(table) {
  return table.closest("section.table").querySelector("h3").id.replace(/^table-/, "");
}

function sort(table, column, direction) {
  const heads = [...table.tHead.rows[0].cells];
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
  sorted.set(keyOf(table), column + (sign > 0 ? "+" : "-"));
}

for (const table of document.querySelectorAll("table")) {
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    if (head.classList.contains("cells")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      sort(table, column, head.ariaSort === "ascending" ? "descending" : "ascending");
      remember();
    });
    head.append(button);
    head.ariaSort = "none";
  }
}

kept.sort = {
  get: () => [...sorted].map(([key, how]) => `${key}:${how}`).join(","),
  set(text) {
    for (const [, key, column, sign] of text.matchAll(/([\w-]+):(\d+)([+-])/g)) {
      if (sorted.get(key) === column + sign) continue;
      const table = document.getElementById(`table-${key}`)?.closest("section.table").querySelector("table");
      if (table?.tHead.rows[0].cells[column]?.ariaSort) sort(table, Number(column), sign === "+" ? "ascending" : "descending");
    }
  },
};
