// The table of all records, from data/records.js; only the rows in view become HTML.
"use strict";
(async () => {
  const { rows: data } = await window.poisonbench.load("records");
  const escape = (text) => String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const link = (folder, slug, text) => `<a href="${folder}/${escape(slug)}.html">${escape(text)}</a>`;
  const number = (digits) => (value, type) =>
    type !== "display" && type !== "filter" ? value ?? -1e9 : value === null ? "–" : value.toFixed(digits).replace("-", "−");
  const text = (value, type) => (type === "display" ? escape(value) : value);
  const shown = (make) => (value, type, row) => (type === "display" ? make(row) : value);

  const table = new DataTable("#records", {
    data,
    deferRender: true,
    order: [],
    pageLength: 50,
    autoWidth: false,
    orderClasses: false,
    columns: [
      { type: "string", render: shown((row) => `<a href="record.html#${escape(row[14])}/${escape(row[0])}">${escape(row[0].slice(0, 8))}</a>`) },
      { type: "string", render: text },
      { type: "string", render: text },
      { type: "string", render: text },
      { type: "num", className: "number", render: (value) => value },
      { type: "string", render: shown((row) => link("attacks", row[15], row[5])) },
      { type: "string", render: shown((row) => link("defenses", row[16], row[6])) },
      { type: "num", className: "number", render: (value) => value },
      ...[2, 2, 2, 2, 1].map((digits) => ({ type: "num", className: "number", render: number(digits) })),
      { type: "string", render: text },
    ],
    layout: { topStart: null, topEnd: "search", bottomStart: "info", bottomEnd: "paging" },
    language: { search: "Search", info: "_START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)", infoEmpty: "none", zeroRecords: "Nothing matches." },
  });

  const filters = [...document.querySelectorAll("select[data-filter]")];
  const { bind, choose, chosen, offer } = window.poisonbench;
  for (const filter of filters) {
    const column = Number(filter.dataset.column);
    for (const value of [...new Set(data.map((row) => row[column]))].sort()) filter.add(new Option(value, value));
  }
  DataTable.ext.search.push((settings, cells, index) =>
    filters.every((filter) => !filter.value || String(data[index][Number(filter.dataset.column)]) === filter.value));
  for (const filter of filters) bind(filter, filter.dataset.filter, () => table.draw());
  if (chosen().get("search")) table.search(chosen().get("search")).draw();
  table.on("search.dt", () => choose("search", table.search()));
  document.getElementById("filters").hidden = false;
  offer(document.getElementById("records"), table, "records");
})();
