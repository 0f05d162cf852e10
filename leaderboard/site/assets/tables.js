// Tables that are whole without scripts become sortable and searchable.
"use strict";
for (const table of document.querySelectorAll("table[data-table]")) {
  const rows = table.tBodies[0].rows.length;
  if (rows < 2) continue;
  new DataTable(table, {
    paging: rows > 50,
    pageLength: 50,
    info: rows > 10,
    searching: rows > 3,
    order: [],
    autoWidth: false,
    layout: { topStart: null, topEnd: rows > 3 ? "search" : null, bottomStart: rows > 10 ? "info" : null, bottomEnd: rows > 50 ? "paging" : null },
    language: { search: `Filter ${table.dataset.table}`, info: "_TOTAL_ rows", infoFiltered: "of _MAX_", infoEmpty: "no rows", zeroRecords: "Nothing matches." },
  });
}
