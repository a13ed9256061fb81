"use strict";
// Tells of a figure's mark what it shows, leads to its rows, and hides an algorithm or an engine in all figures.
{
  const NEAR = 18; // pixels of the drawing: how far from a mark a pointer may be
  const hidden = new Set(); // "algorithm maml", "engine vmap", or both of a line: "maml/vmap"
  const tip = document.createElement("div");
  const panels = [...document.querySelectorAll(".drawn .panel")].map(readPanel);
  const panelOf = new Map(panels.map((panel) => [panel.svg, panel]));
  let shownMark = null;

  function readPanel(box) {
    const figure = box.closest("figure");
    const [algorithms, engines, cells] = ["algorithms", "engines", "cells"].map((name) => JSON.parse(figure.dataset[name]));
    const { rows, of } = JSON.parse(box.dataset.about);
    const about = of.map(([algorithm, engine, ids]) => ({
      algorithm: algorithms[algorithm], engine: engines[engine], cells: ids.map((id) => cells[id]),
    }));
    const several = (kind) => new Set(about.map((one) => one[kind]).filter((name) => name !== undefined)).size > 1;
    const panel = {
      svg: box.querySelector("svg"),
      where: [...box.querySelectorAll(".panel-title > *")].map((part) => part.textContent).filter(Boolean).join(", "),
      heading: box.closest(".group").querySelector("h4")?.textContent,
      about: (mark) => about[rows[mark.dataset.row ?? mark.dataset.label]],
      both: several("algorithm") && several("engine"),
      byEngine: several("engine"),
      marks: [],
    };
    for (const title of box.querySelectorAll("title")) {
      const mark = title.parentElement;
      mark.setAttribute("aria-label", title.textContent.replaceAll("\n", ", "));
      mark.setAttribute("role", "img");
      panel.marks.push({ mark, lines: title.textContent.split("\n") });
      title.remove(); // the browser's own would stand beside ours
    }
    if (panel.marks.length) panel.marks[0].mark.setAttribute("tabindex", "0");
    return panel;
  }

  // What is hidden

  function keyOf(panel, { algorithm, engine }) {
    if (panel.both && algorithm !== undefined && engine !== undefined) return `${algorithm}/${engine}`;
    if (engine !== undefined && (panel.byEngine || algorithm === undefined)) return `engine ${engine}`;
    return algorithm === undefined ? "" : `algorithm ${algorithm}`; // of a profile nothing can be hidden
  }

  function isHidden({ algorithm, engine }) {
    return hidden.has(`algorithm ${algorithm}`) || hidden.has(`engine ${engine}`) || hidden.has(`${algorithm}/${engine}`);
  }

  function toggle(key) {
    if (!hidden.delete(key)) hidden.add(key);
    showHidden();
  }

  function showHidden() {
    leave();
    for (const panel of panels) {
      for (const mark of panel.svg.querySelectorAll("[data-row], [data-label]")) {
        mark.classList.toggle("off", isHidden(panel.about(mark)));
      }
    }
    for (const keys of document.querySelectorAll(".drawn .keys")) {
      keys.classList.toggle("some", hidden.size > 0);
      for (const button of keys.querySelectorAll("[aria-pressed]")) {
        button.setAttribute("aria-pressed", !hidden.has(`${button.dataset.kind} ${button.dataset.name}`));
      }
    }
  }

  for (const keys of document.querySelectorAll(".drawn .keys")) {
    keys.hidden = false;
    keys.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.matches(".all")) {
        hidden.clear();
        showHidden();
        keys.querySelector("button").focus();
      } else toggle(`${button.dataset.kind} ${button.dataset.name}`);
    });
  }

  // What a mark says

  tip.className = "figure-tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);

  function rowOf(id) {
    return document.getElementById(`cell-${id}`);
  }

  function show(panel, found) {
    if (shownMark === found.mark) return;
    leave();
    shownMark = found.mark;
    const { cells } = panel.about(found.mark);
    const known = cells.filter(rowOf);
    const lines = found.lines.map((line) => paragraph(line));
    const where = [panel.heading, panel.where].filter(Boolean).join(": ");
    if (where) lines.push(paragraph(where, "where"));
    if (known.length) {
      const link = document.createElement("a");
      link.href = `#cell-${encodeURIComponent(known[0])}`;
      link.textContent = known.length === 1 ? "Show its rows" : `Show the rows of its ${known.length} configurations`;
      link.addEventListener("click", () => markRows(cells));
      const last = paragraph("", "where");
      last.append(link);
      lines.push(last);
    }
    tip.replaceChildren(...lines);
    tip.hidden = false;
    for (const mark of panel.svg.querySelectorAll(`[data-row="${found.mark.dataset.row}"]`)) mark.classList.add("at");
    const at = found.mark.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const room = document.documentElement.clientWidth - box.width - 8;
    const below = at.bottom + 10;
    const fits = below + box.height < document.documentElement.clientHeight;
    tip.style.left = `${scrollX + Math.max(8, Math.min(at.left + at.width / 2 + 10, room))}px`;
    tip.style.top = `${scrollY + (fits ? below : Math.max(4, at.top - box.height - 10))}px`;
  }

  function paragraph(text, name = "") {
    const made = document.createElement("p");
    made.textContent = text;
    made.className = name;
    return made;
  }

  function leave() {
    if (!shownMark) return;
    for (const mark of shownMark.ownerSVGElement.querySelectorAll(".at")) mark.classList.remove("at");
    shownMark = null;
    tip.hidden = true;
  }

  function nearest(panel, event) {
    const toDrawing = panel.svg.getScreenCTM().inverse();
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(toDrawing);
    let best = null;
    let least = NEAR;
    for (const one of panel.marks) {
      if (one.mark.classList.contains("off")) continue;
      one.box ??= boxOf(one.mark, panel.svg);
      const { left, right, top, bottom } = one.box;
      const distance = Math.hypot(Math.max(left - x, x - right, 0), Math.max(top - y, y - bottom, 0));
      // of two as near, the smaller: a point on a line, a number on a bar
      const reach = distance + 0.01 * Math.min(right - left + bottom - top, 100);
      if (reach < least) [best, least] = [one, reach];
    }
    return best;
  }

  function boxOf(mark, svg) {
    const { x, y, width, height } = mark.getBBox();
    const move = svg.getScreenCTM().inverse().multiply(mark.getScreenCTM());
    const [from, to] = [[x, y], [x + width, y + height]].map((at) => new DOMPoint(...at).matrixTransform(move));
    return { left: Math.min(from.x, to.x), right: Math.max(from.x, to.x), top: Math.min(from.y, to.y), bottom: Math.max(from.y, to.y) };
  }

  // What pointers and keys do

  function markRows(cells) {
    setTimeout(() => { // after the page has gone there
      for (const row of document.querySelectorAll("tr[data-cell]")) {
        row.classList.toggle("named", cells.includes(row.dataset.cell));
      }
    }, 50);
  }

  function goToRows(panel, mark) {
    const { cells } = panel.about(mark);
    const first = cells.find(rowOf);
    if (!first) return;
    leave();
    const hash = `#cell-${encodeURIComponent(first)}`;
    if (location.hash === hash) history.replaceState(null, "", location.pathname + location.search);
    location.hash = hash;
    markRows(cells);
  }

  function step(panel, from, by) {
    const seen = panel.marks.filter(({ mark }) => !mark.classList.contains("off"));
    const at = seen.findIndex(({ mark }) => mark === from);
    const next = seen[Math.max(0, Math.min(seen.length - 1, at + by))];
    if (!next) return;
    from.setAttribute("tabindex", "-1");
    next.mark.setAttribute("tabindex", "0");
    next.mark.focus();
  }

  for (const panel of panels) {
    const { svg } = panel;
    svg.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      const found = nearest(panel, event);
      if (found) show(panel, found);
      else leave();
    });
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") leave();
    });
    svg.addEventListener("click", (event) => {
      const label = event.target.closest("[data-label]");
      const key = label && keyOf(panel, panel.about(label));
      if (key) {
        toggle(key);
        return;
      }
      const found = nearest(panel, event);
      if (!found) leave();
      else if (event.pointerType === "touch" && shownMark !== found.mark) show(panel, found); // a second tap goes on
      else goToRows(panel, found.mark);
    });
    svg.addEventListener("focusin", (event) => {
      const found = panel.marks.find(({ mark }) => mark === event.target);
      if (found && found.mark.matches(":focus-visible")) show(panel, found);
    });
    svg.addEventListener("focusout", leave);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
      if (by) step(panel, event.target, by);
      else if (event.key === "Enter") goToRows(panel, event.target);
      else if (event.key === "Escape") leave();
      else return;
      event.preventDefault();
    });
  }

  document.addEventListener("click", (event) => {
    if (!event.target.closest(".panel svg")) leave();
  });
}
