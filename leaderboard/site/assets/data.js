// A board's data: a script that a page asks for when it is needed, for file:// lets no page fetch a file.
"use strict";
window.poisonbench = Object.assign(window.poisonbench ?? {}, {
  loaded: new Map(),

  /** The value in data/NAME.js; rejected where there is no such file. */
  load: (name) => {
    const { loaded, read } = window.poisonbench;
    if (!loaded.has(name)) loaded.set(name, read(name));
    return loaded.get(name);
  },

  read: async (name) => {
    if (!/^[a-z0-9][a-z0-9._-]*$/.test(name)) throw new Error(`no board is called ${name}`);
    const script = document.createElement("script");
    script.src = `${document.documentElement.dataset.root}data/${name}.js`;
    await new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = () => reject(new Error(`no board is called ${name}`));
      document.head.append(script);
    });
    const bytes = Uint8Array.from(atob(window.poisonbenchData[name]), (letter) => letter.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(plain).text());
  },
});
