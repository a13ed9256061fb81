"use strict";
// Leads from a row of a table to the measurements behind it. This script is the last: it reads the address.

function showRow(target) {
  if (target.hidden || target.closest("section.part").hidden) showAll();
  target.closest("details.appendix").open = true;
  for (const row of target.parentElement.rows) row.classList.toggle("named", row.dataset.cell === target.dataset.cell);
  target.scrollIntoView({ block: "center" });
}

window.addEventListener("hashchange", recall);
document.addEventListener("click", (event) => {
  const hash = event.target.closest?.("a[href^='#']")?.getAttribute("href");
  if (hash && hash.slice(1) === anchor) recall(); // clicked again: no change of the address
});
recall();
