"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll("[data-figure]")];
  const config = { displayModeBar: false, responsive: true, showTips: false };
  const networkOf = (element) => {
    const at = element && element.closest("[data-network], a[href^='#network-']");
    return at ? Number(at.dataset.network || at.hash.slice(9)) : null;
  };
  let chosen = null;
  let pointed = null;

  // Colours are names of the style sheet's variables, so that plots follow light and dark mode.
  const painted = (value, key, style) => {
    if (Array.isArray(value)) return value.map((item) => painted(item, key, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, name, style)]));
    }
    const named = typeof value === "string" && value[0] === "$" && /color/.test(key);
    return named ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
  };

  // Rings on the network that is chosen and on the one that is pointed at, in every plot that shows it.
  const rings = (plot) => {
    const x = [], y = [];
    for (const network of [chosen, pointed]) {
      for (const trace of network === null ? [] : figures[plot.dataset.figure].data) {
        const index = trace.customdata ? trace.customdata.indexOf(network) : -1;
        if (index >= 0) {
          x.push(trace.x[index]);
          y.push(trace.y[index]);
        }
      }
    }
    return { x, y };
  };

  const draw = (width) => {
    const style = getComputedStyle(root);
    const font = getComputedStyle(document.body).fontFamily;
    for (const plot of plots) {
      const figure = figures[plot.dataset.figure];
      const marker = { size: 26, symbol: "circle-open", color: "$ink", line: { width: 2.5 } };
      const ring = { type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false, marker, ...rings(plot) };
      const linked = figure.data.some((trace) => trace.customdata);
      const { data, layout } = painted({ ...figure, data: linked ? [...figure.data, ring] : figure.data }, "", style);
      layout.font.family = font;
      if (width) layout.width = width;
      // A finger scrolls the page; it does not zoom.
      if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
      Plotly.react(plot, data, layout, config);
    }
  };

  const mark = () => {
    for (const each of document.querySelectorAll("[data-network]")) {
      each.classList.toggle("chosen", Number(each.dataset.network) === chosen);
      each.classList.toggle("pointed", Number(each.dataset.network) === pointed);
    }
    for (const plot of plots) {
      const { x, y } = rings(plot);
      const last = plot.data ? plot.data.length - 1 : -1;
      if (last >= figures[plot.dataset.figure].data.length) Plotly.restyle(plot, { x: [x], y: [y] }, [last]);
    }
  };

  const point = (network) => {
    if (network === pointed) return;
    pointed = network;
    mark();
  };

  // What is chosen stands in the address, so that it can be sent to somebody.
  const cards = [...document.querySelectorAll("article[data-network]")];
  const choose = (network) => {
    const card = cards.find((each) => Number(each.dataset.network) === network);
    if (!card) return;
    chosen = network;
    history.replaceState(null, "", "#" + card.id);
    mark();
    say();
  };

  // Two buttons walk along the front; what they reach is read aloud.
  const walk = document.querySelector(".walk");
  const said = walk && walk.querySelector("output");
  const say = () => {
    const card = cards.find((each) => Number(each.dataset.network) === chosen);
    if (!said || !card) return;
    const link = document.createElement("a");
    link.href = "#" + card.id;
    link.textContent = card.querySelector("h3").textContent;
    said.replaceChildren(link, ": " + card.querySelector(".values").textContent);
    walk.querySelectorAll("button").forEach((button) => {
      const next = cards[cards.indexOf(card) + Number(button.value)];
      button.setAttribute("aria-disabled", String(!next));
    });
  };
  if (walk) {
    walk.hidden = false;
    walk.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const at = cards.findIndex((each) => Number(each.dataset.network) === chosen);
      const next = cards[at < 0 ? 0 : at + Number(button.value)];
      if (next) choose(Number(next.dataset.network));
    });
  }

  if (plots.length) {
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
    for (const plot of plots) {
      plot.on("plotly_hover", (event) => {
        const network = event.points[0].customdata;
        point(typeof network === "number" ? network : null);
      });
      plot.on("plotly_unhover", () => point(null));
      plot.on("plotly_click", (event) => choose(event.points[0].customdata));
    }
  }
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => {
      if (!event.target.closest("[data-figure]")) point(networkOf(event.target));
    });
  }

  // What a figure shows only when it is asked to.
  for (const box of document.querySelectorAll("input[data-trace]")) {
    box.closest("label").hidden = false;
    box.addEventListener("change", () => {
      const plot = plots.find((each) => each.dataset.figure === box.dataset.plot);
      const figure = figures[box.dataset.plot];
      const index = figure.data.findIndex((trace) => trace.name === box.dataset.trace);
      figure.data[index].visible = box.checked;
      Plotly.restyle(plot, { visible: box.checked }, [index]);
    });
  }

  // Commands to copy.
  for (const block of document.querySelectorAll("pre.command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy the command " + block.textContent);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(block);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    block.after(button);
  }

  // A link to something folded unfolds it; one to a network chooses it.
  const arrive = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    target.querySelectorAll(":scope > details").forEach((each) => (each.open = true));
    if (target.matches("article[data-network]")) {
      chosen = Number(target.dataset.network);
      mark();
      say();
    }
  };
  addEventListener("hashchange", arrive);
  arrive();

  // Paper is light and as wide as paper, and nothing on it can be unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open]):not(article details)")];
    folded.forEach((each) => (each.open = true));
    root.classList.add("paper");
    draw(660);
  });
  addEventListener("afterprint", () => {
    folded.forEach((each) => (each.open = false));
    root.classList.remove("paper");
    draw();
  });
})();
