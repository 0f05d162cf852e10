// Boards by dataset and model.
"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const cards = [...document.querySelectorAll(".card")];
  const [dataset, model, shown] = ["by-dataset", "by-model", "shown"].map((id) => document.getElementById(id));
  const show = () => {
    for (const card of cards) {
      card.hidden = Boolean((dataset.value && card.dataset.dataset !== dataset.value) || (model.value && card.dataset.model !== model.value));
    }
    const left = cards.filter((card) => !card.hidden).length;
    shown.value = left === cards.length ? "" : `${left} of ${cards.length} boards`;
  };
  form.addEventListener("change", show);
  form.hidden = cards.length < 2;
  show();
})();
