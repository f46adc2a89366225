"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const all = (query) => [...document.querySelectorAll(query)];
  const views = new Map();

  for (const swatch of all(".swatch")) swatch.style.background =
    swatch.dataset.colour === "#000000" ? "var(--black)" : swatch.dataset.colour;

  /** What the controls say, as parameters of the charts. */
  function choice() {
    const at = document.querySelector("select[name=at]");
    const one = document.querySelector("select[name=one]");
    return {
      shown: all("input[name=system]:checked").map((box) => box.value),
      cell: all("select[name=cell]").map((box) => box.value).join(","),
      at: at ? Number(at.value) : page.at,
      one: one ? one.value : "",
    };
  }

  const group = (name) => (name.startsWith("timeline") ? "timeline" : name);
  const members = (name) => page.charts.filter((chart) => group(chart.name) === group(name));

  /** The ends of the x axis that show everything; a timeline ends with its run. */
  function home(chart, wanted) {
    if (group(chart.name) !== "timeline") return chart.home;
    const run = page.data.timeline.find((row) =>
      row.system === wanted.one && row.cell === wanted.cell && row.at === wanted.at);
    return [0, run ? run.end : 1];
  }

  /** Set the ends of the x axis of a chart and of those that go with it. */
  async function look(name, ends) {
    for (const chart of members(name)) {
      const view = views.get(chart.name);
      if (view) await view.signal("x0", ends[0]).signal("x1", ends[1]).runAsync();
    }
  }

  /** Zoom by a factor about a place (0 to 1 of the axis), or move by a share of it. */
  function zoom(chart, factor, move = 0, about = 0.5) {
    const view = views.get(chart.name);
    const [to, from] = chart.log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
    const a = to(view.signal("x0")), b = to(view.signal("x1"));
    const centre = a + (b - a) * about, shift = move * (b - a);
    const ends = [centre + (a - centre) * factor + shift, centre + (b - centre) * factor + shift];
    return look(chart.name, ends.map(from));
  }

  const moves = {
    in: [0.5], out: [2], left: [1, -0.2], right: [1, 0.2],
  };
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "home" };

  function act(chart, what) {
    return what === "home" ? look(chart.name, home(chart, choice())) : zoom(chart, ...moves[what]);
  }

  /** Buttons, keys, ctrl + wheel and dragging of one chart. */
  function listen(chart, figure, box) {
    for (const button of figure.querySelectorAll("[data-zoom]"))
      button.addEventListener("click", () => act(chart, button.dataset.zoom));
    box.addEventListener("keydown", (event) => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act(chart, keys[event.key]);
    });
    const place = (event) => {
      const view = views.get(chart.name), [left] = view.origin();
      return (event.clientX - box.getBoundingClientRect().left - left) / view.signal("width");
    };
    box.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(chart, event.deltaY < 0 ? 0.8 : 1.25, 0, place(event));
    }, { passive: false });
    let from = null;
    box.addEventListener("pointerdown", (event) => { from = place(event); });
    window.addEventListener("pointerup", () => { from = null; });
    box.addEventListener("pointermove", (event) => {
      if (from === null || !event.buttons) return;
      const to = place(event);
      zoom(chart, 1, from - to);
      from = to;
    });
    box.addEventListener("dblclick", () => act(chart, "home"));
  }

  function has(chart, wanted) {
    const rows = page.data[chart.spec.data.name];
    const timeline = group(chart.name) === "timeline", run = timeline || chart.name.startsWith("cdf");
    return rows.some((row) => row.cell === wanted.cell && (!run || row.at === wanted.at) &&
      (timeline ? row.system === wanted.one : wanted.shown.includes(row.system)));
  }

  /** Show what the controls say. */
  async function update() {
    const wanted = choice();
    for (const row of all("tbody tr[data-system]"))
      row.hidden = page.systems.includes(row.dataset.system) && !wanted.shown.includes(row.dataset.system);
    for (const chart of page.charts) {
      const view = views.get(chart.name);
      document.querySelector(`[data-chart="${chart.name}"] .empty`).hidden = has(chart, wanted);
      for (const [name, value] of Object.entries(wanted)) view.signal(name, value);
      if (group(chart.name) === "timeline") {
        const ends = home(chart, wanted);
        view.signal("x0", ends[0]).signal("x1", ends[1]);
      }
      await view.runAsync();
    }
  }

  async function start() {
    for (const chart of page.charts) {
      const figure = document.querySelector(`[data-chart="${chart.name}"]`);
      const box = figure.querySelector(".chart"), name = chart.spec.data.name;
      const wanted = choice(), [x0, x1] = chart.home ? home(chart, wanted) : [0, 1];
      const given = { ...wanted, x0, x1 };
      const params = Object.entries(given).map(([key, value]) => ({ name: key, value }));
      const spec = { ...chart.spec, params, datasets: { [name]: page.data[name] } };
      const { view } = await vegaEmbed(box, spec, {
        actions: false, renderer: "svg", tooltip: { theme: "page", disableDefaultStyle: true },
      });
      views.set(chart.name, view);
      if (chart.home) listen(chart, figure, box);
    }
    for (const control of all("form.controls input, form.controls select"))
      control.addEventListener("change", update);
    for (const form of all("form.controls")) form.addEventListener("submit", (e) => e.preventDefault());
    await update();
    document.documentElement.dataset.ready = "yes";
  }

  const open = [];
  window.addEventListener("beforeprint", () => {
    for (const box of all("details:not([open])")) { box.open = true; open.push(box); }
  });
  window.addEventListener("afterprint", () => { while (open.length) open.pop().open = false; });
  start();
})();
