// What a table shows, in its order, as CSV, Markdown or LaTeX.
"use strict";
window.poisonbench = Object.assign(window.poisonbench ?? {}, {
  /** Put buttons below a table. Made is its DataTable; without one all of its rows are shown. */
  offer(table, made, name) {
    const { formats, contents, save } = window.poisonbench;
    const place = document.createElement("p");
    place.className = "downloads";
    place.append("What is shown, as");
    for (const format of Object.keys(formats)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = format;
      button.setAttribute("aria-label", `Download the table ${name} as ${format}`);
      button.addEventListener("click", () => {
        const { ending, write } = formats[format];
        const page = location.pathname.split("/").pop().replace(/\.html$/, "");
        save(`${page}-${name}.${ending}`, write(contents(table, made)));
      });
      place.append(button);
    }
    table.closest(".scroll").after(place);
  },

  /** Headings, rows of texts, and which columns hold numbers; drawings are left out. */
  contents(table, made) {
    const heads = [...table.tHead.rows[0].cells];
    const heading = document.getElementById(table.closest("[aria-labelledby]")?.getAttribute("aria-labelledby"))?.textContent;
    const kept = heads.map((_, index) => index).filter((index) => heads[index].dataset.orderable !== "false");
    const { plain } = window.poisonbench;
    let rows;
    if (made) {
      const shown = made.rows({ search: "applied", order: "applied" }).indexes().toArray();
      const cells = made.cells(shown, kept).render("display").toArray();
      rows = shown.map((_, index) => cells.slice(index * kept.length, (index + 1) * kept.length).map(plain));
    } else {
      rows = [...table.tBodies[0].rows].filter((row) => row.cells.length === heads.length).map((row) => kept.map((index) => plain(row.cells[index].innerHTML)));
    }
    return {
      title: [document.title.replace(/ · poisonbench$/, ""), heading].filter(Boolean).join(": "),
      headings: kept.map((index) => heads[index].textContent.trim().replace(/\s+/g, " ")),
      numeric: kept.map((index) => heads[index].classList.contains("number")),
      rows,
    };
  },

  /** The text of a cell's HTML; badges are a list. A template's content runs nothing. */
  plain(html) {
    const text = String(html);
    if (!/[<&]/.test(text)) return text.trim();
    const parsed = document.createElement("template");
    parsed.innerHTML = text;
    const badges = [...parsed.content.querySelectorAll(".badge")].map((badge) => badge.textContent.trim());
    return (badges.length ? badges.join("; ") : parsed.content.textContent).trim().replace(/\s+/g, " ");
  },

  save(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  },

  formats: {
    CSV: { ending: "csv", write: (shown) => window.poisonbench.csv(shown) },
    Markdown: { ending: "md", write: (shown) => window.poisonbench.markdown(shown) },
    LaTeX: { ending: "tex", write: (shown) => window.poisonbench.latex(shown) },
  },

  /** A mean and half of its interval are two columns, and a minus is one that programs read. */
  csv({ headings, rows }) {
    const pair = /^([−-]?[\d.,]+) ± ([\d.]+)( †)?$/;
    const split = headings.map((_, column) => rows.some((row) => pair.test(row[column])));
    const number = (text) => (/^[−-]?[\d.,]+$/.test(text) ? text.replace("−", "-").replaceAll(",", "") : text === "–" ? "" : text);
    const field = (text) => {
      const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text; // no spreadsheet takes it for a formula
      return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const head = headings.flatMap((text, column) => (split[column] ? [text, `${text} ±`] : [text]));
    const body = rows.map((row) => row.flatMap((text, column) => {
      if (!split[column]) return [number(text)];
      const found = pair.exec(text);
      return found ? [number(found[1]), found[2] + (found[3] ?? "")] : [number(text), ""];
    }));
    return [head, ...body].map((row) => `${row.map(field).join(",")}\r\n`).join("");
  },

  markdown({ title, headings, numeric, rows }) {
    const line = (cells) => `| ${cells.map((text) => text.replace(/([\\|`*_<>[\]])/g, "\\$1")).join(" | ")} |`;
    const rule = `| ${numeric.map((one) => (one ? "---:" : "---")).join(" | ")} |`;
    return `${title}\n\n${[line(headings), rule, ...rows.map(line)].join("\n")}\n`;
  },

  latex({ title, headings, numeric, rows }) {
    const letters = {
      "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
      "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "−": "$-$", "–": "--", "×": "$\\times$",
      "ε": "$\\varepsilon$", "†": "$\\dagger$", "·": "$\\cdot$", "<": "\\textless{}", ">": "\\textgreater{}",
      "|": "\\textbar{}", "“": "``", "”": "''", "’": "'", "[": "{[}", "*": "{*}",
    };
    const tex = (text) => text.replace(/[\\&%$#_{}~^±−–×ε†·<>|“”’[*]/g, (letter) => letters[letter]);
    const line = (cells) => `    ${cells.map(tex).join(" & ")} \\\\`;
    return [
      "% needs \\usepackage{booktabs}", "\\begin{table}", "  \\centering", `  \\caption{${tex(title)}}`,
      `  \\begin{tabular}{${numeric.map((one) => (one ? "r" : "l")).join("")}}`, "    \\toprule", line(headings), "    \\midrule",
      ...rows.map(line), "    \\bottomrule", "  \\end{tabular}", "\\end{table}", "",
    ].join("\n");
  },
});
