"use strict";
// A figure that is taller than the answer beside it is cut there, until a reader asks for all of it.

const beside = document.querySelector(".pictured > .picture");

if (beside) {
  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  more.textContent = "Show the whole figure";
  more.addEventListener("click", () => beside.classList.remove("cut"));
  beside.append(more);
  window.addEventListener("load", () => {
    const [figure, answer] = [beside.firstElementChild, beside.previousElementSibling];
    beside.classList.toggle("cut", figure.offsetHeight > answer.offsetHeight);
  });
}
