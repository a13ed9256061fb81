"use strict";
// The state of the page stands in its address, behind a question mark in the fragment: #table-3-0?words=maml&sort=…
// It is there when the page is opened again, and in a link that is sent to somebody else.

const data = JSON.parse(document.getElementById("data").textContent);
const kept = {}; // name → { get, set }: how a part of the page gives its state as a text, and takes it

let anchor = "";

function remember() {
  const state = new URLSearchParams();
  for (const [name, { get }] of Object.entries(kept)) if (get()) state.set(name, get());
  const query = state.toString();
  const fragment = anchor + (query && `?${query}`);
  history.replaceState(null, "", `#${fragment}`);
}

// What the address says: the state, where it has one, and the element that it leads to.
function recall() {
  const [name, query] = location.hash.slice(1).split("?");
  anchor = name;
  if (query !== undefined) {
    const state = new URLSearchParams(query);
    for (const [part, { set }] of Object.entries(kept)) set(state.get(part) ?? "");
    filterAgain();
  }
  if (Object.values(kept).some(({ get }) => get())) remember(); // a link inside the page has no state of its own
  const target = name && document.getElementById(decodeURIComponent(name));
  if (target) show(target);
}

function show(target) {
  if (/^cell-/.test(target.id)) return showRow(target);
  if (target.closest("[hidden]")) showAll();
  target.scrollIntoView();
}
