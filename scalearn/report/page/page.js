"use strict";
// Sorts tables by a click on a heading, folds what may be folded. Without it all is there, unfolded.
document.documentElement.classList.add("js");

for (const button of document.querySelectorAll("button.fold")) {
  const part = document.getElementById(button.getAttribute("aria-controls"));
  const set = (open) => {
    button.setAttribute("aria-expanded", open);
    part.classList.toggle("folded", !open);
  };
  set(false);
  button.addEventListener("click", () => set(button.getAttribute("aria-expanded") === "false"));
}

// A body is a line with its details: they move together. Cells without a value stay last, up or down.
const sort = (table, column, down) => {
  const value = (body) => body.rows[0].cells[column].dataset.sort;
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const number = Number(x) - Number(y);
    const order = Number.isNaN(number) ? x.localeCompare(y) : number;
    return down ? -order : order;
  };
  table.append(...[...table.tBodies].sort(compare));
};

for (const heading of document.querySelectorAll("th[aria-sort]")) {
  heading.querySelector("button").addEventListener("click", () => {
    const now = heading.getAttribute("aria-sort");
    const down = now === "none" ? heading.dataset.first === "down" : now === "ascending";
    for (const other of heading.parentElement.children) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    sort(heading.closest("table"), heading.cellIndex, down);
  });
}
