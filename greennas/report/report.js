"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll("[data-figure]")];
  const config = { displayModeBar: false, responsive: true, showTips: false };

  // Colours are names of the style sheet's variables, so that plots follow light and dark mode.
  const painted = (value, key, style) => {
    if (Array.isArray(value)) return value.map((item) => painted(item, key, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, name, style)]));
    }
    const named = typeof value === "string" && value[0] === "$" && /color/.test(key);
    return named ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
  };

  const draw = (width) => {
    const style = getComputedStyle(root);
    const font = getComputedStyle(document.body).fontFamily;
    for (const plot of plots) {
      const { data, layout } = painted(figures[plot.dataset.figure], "", style);
      layout.font.family = font;
      if (width) layout.width = width;
      // A finger scrolls the page; it does not zoom.
      if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
      Plotly.react(plot, data, layout, config);
    }
  };

  if (plots.length) {
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  }

  // A link to something folded unfolds it.
  const unfold = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target) target.querySelectorAll(":scope > details").forEach((each) => (each.open = true));
  };
  addEventListener("hashchange", unfold);
  unfold();

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
