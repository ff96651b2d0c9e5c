// Sorts and filters the table of trials. A cell's data-v is its number; rows without one come last.
"use strict";
for (const box of document.querySelectorAll(".trials")) {
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  const said = box.querySelector("output");
  const search = box.querySelector("input");
  const choices = [...box.querySelectorAll("select")];

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = choices.every(
        (c) => c.value === "*" || row.cells[c.dataset.column].textContent === c.value.slice(1));
      row.hidden = !(fits && words.every((word) => text.includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    said.textContent = `${shown} of ${rows.length} trials`;
  };

  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.textContent;
    return "v" in cell.dataset ? Number(cell.dataset.v) : text === "" ? null : text;
  };

  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    if (typeof a === "string") return sign * a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * ((a > b) - (a < b));
  };

  box.querySelectorAll("thead th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      box.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      rows.sort((a, b) => compare(key(a, column), key(b, column), sign));
      body.append(...rows);
    });
  });
  search.addEventListener("input", filter);
  choices.forEach((choice) => choice.addEventListener("change", filter));
}
