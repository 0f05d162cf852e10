// What a visitor chose, in the address: a link to it shows the same. After the #, for elsewhere file:// lets no script
// change it.
"use strict";
window.poisonbench = Object.assign(window.poisonbench ?? {}, {
  chosen: () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : ""),

  /** Keep a value, or forget it if it is empty. */
  choose: (name, value) => {
    const all = window.poisonbench.chosen();
    if (value) all.set(name, value);
    else all.delete(name);
    const text = all.toString();
    if (`#${text}` !== location.hash) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    dispatchEvent(new Event("chosen"));
  },

  /** Have a control keep its value there, and take it from there. */
  bind: (control, name, changed) => {
    const { chosen, choose } = window.poisonbench;
    const take = () => { control.value = chosen().get(name) ?? ""; changed(); };
    control.addEventListener("change", () => { choose(name, control.value); changed(); });
    addEventListener("hashchange", take);
    take();
  },
});
