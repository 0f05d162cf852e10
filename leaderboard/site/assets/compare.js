// Two entries of a ranking beside each other. Every number was computed where the site was made: here it is laid out.
"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const place = document.getElementById("comparison");
  const [board, of, a, b] = ["board", "of", "a", "b"].map((id) => document.getElementById(id));
  const { choose, chosen, load, offer } = window.poisonbench;

  const fill = (select, options, wanted) => {
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === wanted)) select.value = wanted;
  };
  const element = (name, text, more = {}) => Object.assign(document.createElement(name), { textContent: text }, more);

  const show = async () => {
    const wanted = chosen();
    if ([...board.options].some((option) => option.value === wanted.get("board"))) board.value = wanted.get("board");
    const slug = board.value;
    const { families } = await load(slug);
    if (slug !== board.value) return; // another was chosen meanwhile
    fill(of, families.map(({ name, title }) => [name, title]), wanted.get("of"));
    const family = families.find(({ name }) => name === of.value);
    const names = family.entries.map(({ label }) => [label, label]);
    fill(a, names, wanted.get("a") ?? names[0][0]);
    fill(b, names, wanted.get("b") ?? names[1][0]);
    if (a.value === b.value) b.value = names.find(([label]) => label !== a.value)[0];
    draw(family);
    form.hidden = false;
  };

  const draw = (family) => {
    const [one, other] = [a.value, b.value].map((label) => family.entries.find((entry) => entry.label === label));
    const pair = family.pairs.find(({ first, second }) => [first, second].includes(one.label) && [first, second].includes(other.label));
    const turned = pair.first !== one.label;
    const turn = (text) => (!turned ? text : /^0(\.0+)?( |$)/.test(text) ? text : text.startsWith("−") ? text.slice(1) : `−${text}`);
    document.title = `${one.label} and ${other.label} · poisonbench`;

    const table = document.createElement("table");
    table.className = "narrow";
    table.append(element("caption", `${family.title}, ${board.selectedOptions[0].text}. Points; ± is half of the 95 % interval for other seeds and other test images`));
    const head = table.createTHead().insertRow();
    const heading = (text, page, number) => {
      const cell = element("th", page ? "" : text, { scope: "col", className: number ? "number" : "" });
      if (page) cell.append(element("a", text, { href: page }));
      head.append(cell);
    };
    heading("");
    heading(one.label, one.page, true);
    heading(other.label, other.page, true);
    heading("difference", "", true);
    const body = table.createTBody();
    const line = (name, ...texts) => {
      const row = body.insertRow();
      row.append(element("th", name, { scope: "row" }), ...texts.map((text) => element("td", text, { className: "number" })));
    };
    one.facts.forEach(([name, text], index) => (text || other.facts[index][1]) && line(name, text, other.facts[index][1], name === family.value ? turn(pair.difference) : ""));
    family.seeds.forEach((seed, index) => line(`seed ${seed}`, one.by_seed[index], other.by_seed[index], turn(pair.by_seed[index])));

    const scroll = element("div", "", { className: "scroll", tabIndex: 0 });
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Comparison");
    scroll.append(table);
    place.replaceChildren(element("p", pair.sentence, { className: "finding" }), scroll);
    offer(table, null, "comparison");
  };

  const remember = (...kept) => {
    for (const select of [board, of, a, b]) choose(select.id, kept.includes(select) ? select.value : "");
    show();
  };
  board.addEventListener("change", () => remember(board, of));
  of.addEventListener("change", () => remember(board, of));
  for (const select of [a, b]) select.addEventListener("change", () => remember(board, of, a, b));
  addEventListener("hashchange", show);
  show();
})();
