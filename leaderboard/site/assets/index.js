// Boards by dataset and model.
"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const boards = [...document.querySelectorAll(".glimpse")];
  const [dataset, model, shown] = ["by-dataset", "by-model", "shown"].map((id) => document.getElementById(id));
  const show = () => {
    for (const board of boards) {
      board.hidden = Boolean((dataset.value && board.dataset.dataset !== dataset.value) || (model.value && board.dataset.model !== model.value));
    }
    for (const group of document.querySelectorAll("section.group")) group.hidden = !group.querySelector(".glimpse:not([hidden])");
    const left = boards.filter((board) => !board.hidden).length;
    shown.value = left === boards.length ? "" : `${left} of ${boards.length} boards`;
  };
  form.hidden = boards.length < 2;
  window.poisonbench.bind(dataset, "dataset", show);
  window.poisonbench.bind(model, "model", show);
})();
