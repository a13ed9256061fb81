"use strict";
// Saves the files that the page carries. A link to a file that it does not carry leads to the one beside the page.

const carried = new Map([...document.querySelectorAll("script[data-file]")].map((part) => [part.dataset.file, part]));

async function unpacked(part) {
  const bytes = Uint8Array.from(atob(part.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).blob();
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[href]");
  const name = link && decodeURIComponent(link.getAttribute("href"));
  if (!carried.has(name) || !("DecompressionStream" in window)) return;
  event.preventDefault();
  const made = document.createElement("a");
  made.href = URL.createObjectURL(await unpacked(carried.get(name)));
  made.download = name.split("/").pop();
  made.click();
  setTimeout(() => URL.revokeObjectURL(made.href), 60_000);
});
