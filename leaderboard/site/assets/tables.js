// Tables that are whole without scripts become sortable and searchable; order and search are in the address.
"use strict";
(() => {
  const { chosen, choose, offer } = window.poisonbench;
  const tables = new Map();
  for (const table of document.querySelectorAll("table[data-table]")) {
    const name = table.closest("[aria-labelledby]").getAttribute("aria-labelledby");
    const rows = table.tBodies[0].rows.length;
    if (rows > 1) tables.set(name, sortable(table, name, rows));
    offer(table, tables.get(name), name);
  }

  function sortable(table, name, rows) {
    const made = new DataTable(table, {
      paging: rows > 50,
      pageLength: 50,
      info: rows > 10,
      searching: rows > 3,
      order: order(name, table),
      search: { search: chosen().get(name) ?? "" },
      autoWidth: false,
      layout: { topStart: null, topEnd: rows > 3 ? "search" : null, bottomStart: rows > 10 ? "info" : null, bottomEnd: rows > 50 ? "paging" : null },
      language: { search: `Filter ${table.dataset.table}`, info: "_TOTAL_ rows", infoFiltered: "of _MAX_", infoEmpty: "no rows", zeroRecords: "Nothing matches." },
    });
    made.on("search.dt", () => choose(name, made.search()));
    made.on("order.dt", () => choose(`${name}.sort`, made.order().map(([column, way]) => `${column}-${way}`)[0] ?? ""));
    return made;
  }

  /** As the address has it, such as attacks.sort=2-asc. */
  function order(name, table) {
    const found = /^(\d+)-(asc|desc)$/.exec(chosen().get(`${name}.sort`) ?? "");
    return found && Number(found[1]) < table.tHead.rows[0].cells.length ? [[Number(found[1]), found[2]]] : [];
  }

  // A board's siblings open in the same order, with the same search.
  const siblings = [...document.querySelectorAll(".switches a")];
  const carry = () => { for (const link of siblings) link.hash = location.hash.includes("=") ? location.hash : ""; };
  addEventListener("chosen", carry);
  carry();
})();
