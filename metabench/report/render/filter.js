"use strict";
// Words, and the values of a few axes, choose the rows and figures that are shown. What has nothing left is hidden.

const bar = document.querySelector(".filter");
const field = document.querySelector(".filter input");
const chips = [...document.querySelectorAll(".chips button")];
const values = data.axes.map((_, place) => new Set(data.kinds.map((kind) => kind[place])));
let read = null; // what can be hidden, with its texts and kinds; read when the filter is first used

const words = (text) => text.split(/[\s,:;/()[\]]+/);

// The values of each axis that a text names; null for an axis of which it names none.
function named(text) {
  const found = words(text);
  return values.map((known) => {
    const own = found.filter((word) => known.has(word));
    return own.length ? new Set(own) : null;
  });
}

// A row is of the kinds of the cells behind it, except where it, or its table's title, names others: a baseline is
// behind each row, too.
function kindsOf(row, title) {
  const label = [...row.cells].filter((cell) => !("value" in cell.dataset) && !cell.classList.contains("cells"));
  const own = named(label.map((cell) => cell.textContent).join(" "));
  const held = own.map((found, place) => found ?? title[place]);
  const links = [...row.querySelectorAll(".cells a, .cells span")].map((link) => link.textContent.trim());
  const ids = row.dataset.cell ? [row.dataset.cell] : links;
  const kinds = [...new Set(ids.map((id) => data.cells[id]).filter((kind) => kind !== undefined))];
  const fit = kinds.map((kind) => data.kinds[kind]).filter((kind) => held.every((found, i) => !found || found.has(kind[i])));
  return fit.length ? fit : [held]; // of a row behind which there is no cell it is known what it says
}

function readAll() {
  const tables = [...document.querySelectorAll("main section.table")].map((section) => {
    const title = section.querySelector("h3").textContent;
    const held = named(title);
    const rows = [...section.querySelectorAll("tbody tr")].map((row) => {
      const cells = [...row.cells].map((cell) => cell.textContent);
      return { row, text: [title, ...cells].join(" ").toLowerCase(), kinds: kindsOf(row, held) };
    });
    return { section, rows, appendix: section.closest(".appendix") !== null };
  });
  const figures = [...document.querySelectorAll("[data-picture]")].map((box) => {
    const kinds = (data.figures[box.dataset.picture] ?? []).map((kind) => data.kinds[kind]);
    const text = [box.querySelector("h3")?.textContent, box.querySelector("figcaption")?.textContent, ...kinds.flat()];
    return { box, text: text.join(" ").toLowerCase(), kinds };
  });
  return { tables, figures, parts: [...document.querySelectorAll("main section.part")] };
}

const has = (value, chosen) => (value instanceof Set ? [...value].some((one) => chosen.has(one)) : chosen.has(value));

function filter() {
  read ??= readAll();
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const pressed = chips.filter((chip) => chip.ariaPressed === "true");
  const active = wanted.length + pressed.length > 0;
  const chosen = data.axes.map((axis) => new Set(pressed.filter((c) => c.dataset.axis === axis).map((c) => c.textContent)));
  const fits = (kind) => chosen.every((own, i) => !own.size || kind[i] === null || has(kind[i], own));
  const shown = ({ text, kinds }) => wanted.every((word) => text.includes(word)) && (!pressed.length || kinds.some(fits));

  const left = { tables: [0, 0], rows: [0, 0], figures: [0, 0] };
  const count = (what, is, of = 1) => [is, of].forEach((number, i) => (left[what][i] += Number(number)));
  for (const { section, rows, appendix } of read.tables) {
    let here = 0;
    for (const one of rows) {
      one.row.hidden = !shown(one);
      here += !one.row.hidden;
    }
    section.hidden = active && here === 0;
    if (appendix || !rows.length) continue; // every row of a table stands on some of the appendix
    count("tables", here > 0);
    count("rows", here, rows.length);
  }
  for (const one of read.figures) {
    one.box.hidden = active && !shown(one);
    count("figures", !one.box.hidden);
  }
  for (const part of read.parts) {
    const inside = [...part.querySelectorAll("section.table, [data-picture]")];
    part.hidden = active && inside.every((one) => one.hidden);
    document.querySelector(`nav a[href="#${part.querySelector("h2").id}"]`).parentElement.hidden = part.hidden;
  }
  const told = Object.entries(left).filter(([, [, all]]) => all).map(([what, [is, all]]) => `${is} of ${all} ${what}`);
  bar.querySelector("output").value = active ? told.join(", ") : "";
  bar.querySelector(".clear").hidden = !active;
}

// After the state was set from outside; a page that is not filtered is not read for it.
function filterAgain() {
  if (bar && (read || field.value.trim() || chips.some((chip) => chip.ariaPressed === "true"))) filter();
}

function showAll() {
  field.value = "";
  for (const chip of chips) chip.ariaPressed = "false";
  filter();
  remember();
}

if (bar) {
  bar.hidden = false;
  field.addEventListener("input", () => (filter(), remember()));
  bar.querySelector(".clear").addEventListener("click", showAll);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.ariaPressed = String(chip.ariaPressed !== "true");
      filter();
      remember();
    });
  }
  kept.words = { get: () => field.value.trim(), set: (text) => (field.value = text) };
  for (const axis of data.axes) {
    const own = chips.filter((chip) => chip.dataset.axis === axis);
    kept[axis] = {
      get: () => own.filter((chip) => chip.ariaPressed === "true").map((chip) => encodeURIComponent(chip.textContent)).join(","),
      set(text) {
        const chosen = text.split(",").map(decodeURIComponent);
        for (const chip of own) chip.ariaPressed = String(chosen.includes(chip.textContent));
      },
    };
  }
}
