// The record that the address names, record.html#BOARD/ID, from its board's data. The pieces were escaped where they were
// made.
"use strict";
(() => {
  const place = document.getElementById("record");
  const show = async () => {
    const [board, id] = location.hash.slice(1).split("/");
    const found = board ? await window.poisonbench.load(board).catch(() => null) : null;
    const [title, ...pieces] = found?.records[id] ?? [];
    if (location.hash.slice(1).split("/")[1] !== id) return; // another was asked for meanwhile
    if (!title) {
      document.title = "No such record · poisonbench";
      place.innerHTML = '<h1>No such record</h1><p>This site has no record at this address. <a href="records.html">All records</a></p>';
      return;
    }
    document.title = `${title} · poisonbench`;
    place.innerHTML = pieces.map((index) => found.pieces[index]).join("");
    for (const button of place.querySelectorAll("button[data-copy]")) button.hidden = false;
  };
  const another = () => { scrollTo(0, 0); document.getElementById("content").focus({ preventScroll: true }); show(); };
  addEventListener("hashchange", another);
  show();
})();
