"use strict";
// What is folded is printed, too, but for the rows of the run: they are in results.csv.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("header details, .front details.notes, .about details")].filter((one) => !one.open);
  for (const one of opened) one.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
