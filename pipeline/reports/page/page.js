// Draws the charts, sorts and copies the tables. What it shows was escaped before; it puts text in as text alone.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const range = Array.from({ length: 10 }, (_, at) => color(`color-${at + 1}`));
    const text = { labelColor: color("dim"), titleColor: color("dim"), labelFontSize: 11, titleFontWeight: "normal" };
    return {
      background: null,
      font: "system-ui, sans-serif",
      view: { stroke: null },
      mark: { color: range[0] },
      tick: { color: color("text") },
      range: { category: range },
      title: { color: color("text"), anchor: "start", fontSize: 13, fontWeight: 600 },
      axis: { ...text, gridColor: color("line"), domainColor: color("line"), tickColor: color("line"), labelLimit: 150 },
      legend: { ...text, orient: "bottom", columns: innerWidth < 640 ? 2 : 4, labelLimit: 220 },
      header: text,
    };
  }

  async function draw(place, specification) {
    // Expressions are interpreted: the page's policy lets nobody make code of text.
    const options = {
      ast: true, actions: false, renderer: "svg", defaultStyle: false, config: theme(),
      tooltip: { disableDefaultStyle: true },
    };
    await vegaEmbed(place, specification, options);
    place.dataset.drawn = "yes";
  }

  function drawAll() {
    for (const place of document.querySelectorAll("[data-chart]")) draw(place, figures.charts[place.dataset.chart]);
    drawCall();
  }

  function drawCall() {
    const chosen = document.getElementById("call");
    if (!chosen) return;
    const call = figures.calls[Number(chosen.value)];
    const specification = structuredClone(figures.waterfall);
    specification.height = 32 * call.stages.length;
    specification.datasets = { stages: call.stages, events: call.events.map((at) => ({ at, stage: "tokens" })) };
    draw(document.getElementById("waterfall"), specification);
    const every = call.every > 1 ? `, every ${call.every}th is marked` : "";
    document.getElementById("events").textContent = `${call.id}: ${call.event_count.toLocaleString("en")} events${every}`;
  }

  function figure(cell) {
    return cell.dataset.value === undefined ? null : cell.dataset.value;
  }

  function compare(one, other) {
    const [a, b] = [figure(one), figure(other)];
    if (a === null || b === null) return a === b ? one.textContent.localeCompare(other.textContent) : a === null ? 1 : -1;
    return isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  }

  function sort(head) {
    const body = head.closest("table").tBodies[0];
    const falls = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const at = head.cellIndex;
    const known = (row) => figure(row.cells[at]) !== null || !row.cells[at].classList.contains("figure");
    const rows = [...body.rows].sort((one, other) => {
      // What is not known stands last, whichever way the rest goes.
      if (known(one) !== known(other)) return known(one) ? -1 : 1;
      return compare(one.cells[at], other.cells[at]) * (falls ? -1 : 1);
    });
    body.append(...rows);
  }

  function spelled(cell) {
    const value = figure(cell);
    if (value !== null) return value;
    if (cell.classList.contains("figure")) return "";
    const text = cell.textContent.replace(/[\t\r\n]+/g, " ");
    // A spreadsheet takes such text for a formula.
    return /^[=+\-@]/.test(text) ? `'${text}` : text;
  }

  async function copy(button) {
    const table = button.closest("section").querySelector("table");
    const text = [...table.rows].map((row) => [...row.cells].map(spelled).join("\t")).join("\n");
    const said = button.nextElementSibling;
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied.";
    } catch {
      said.textContent = "The browser did not let the page copy.";
    }
  }

  document.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (head) sort(head);
    if (event.target.matches(".copy")) copy(event.target);
  });
  document.getElementById("call")?.addEventListener("change", drawCall);
  scheme.addEventListener("change", drawAll);
  drawAll();
})();
