// uPlot charts; each reads its columns from a live panel, so a push needs no second channel.
import { word } from "./notify.js";

const SPAN_S = 300;
const charts = new Map();

function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function columns(source) {
  const data = JSON.parse(source.dataset.series);
  return [data.at, data.tokens_per_s, data.running, data.waiting];
}

function axis(extra) {
  return {
    stroke: colour("--hub-faint"),
    grid: { stroke: colour("--hub-line"), width: 1 },
    ticks: { show: false },
    font: "12px Inter Hub, sans-serif",
    labelFont: "12px Inter Hub, sans-serif",
    labelSize: 20,
    labelGap: 0,
    ...extra,
  };
}

// Without a pointer over it the legend tells the newest values.
function newest(chart) {
  const last = chart.data[0].length - 1;
  if (last >= 0 && chart.cursor.left < 0) chart.setLegend({ idx: last }, false);
}

function options(box) {
  const whole = (_, values) => values.map((number) => (Number.isInteger(number) ? number : ""));
  return {
    width: box.clientWidth - 16,
    height: 160,
    hooks: { setCursor: [newest] },
    cursor: { y: false, points: { size: 7 } },
    scales: { x: { range: (_, low, high) => [(high || Date.now() / 1000) - SPAN_S, high || Date.now() / 1000] }, requests: { range: (_, low, high) => [0, Math.max(4, high)] }, tokens: { range: (_, low, high) => [0, Math.max(10, high * 1.1)] } },
    axes: [axis({ space: 80, values: (_, times) => times.map(clock) }), axis({ scale: "tokens", size: 44, label: word("tokens") }), axis({ scale: "requests", side: 1, grid: { show: false }, size: 32, values: whole, label: word("requests") })],
    series: [
      { label: word("time"), value: "{HH}:{mm}:{ss}" },
      { label: word("tokens"), scale: "tokens", stroke: colour("--hub-accent"), fill: `color-mix(in srgb, ${colour("--hub-accent")} 12%, transparent)`, width: 1.75, points: { show: false } },
      { label: word("running"), scale: "requests", stroke: colour("--hub-hue-1"), width: 1.5, points: { show: false } },
      { label: word("waiting"), scale: "requests", stroke: colour("--hub-hue-3"), width: 1.5, dash: [4, 3], points: { show: false } },
    ],
  };
}

function draw(box) {
  const source = document.getElementById(box.dataset.chart);
  if (!source) return;
  charts.get(box)?.destroy();
  charts.set(box, new window.uPlot(options(box), columns(source), box));
  newest(charts.get(box));
}

function update() {
  for (const [box, chart] of charts) {
    const source = document.getElementById(box.dataset.chart);
    if (!source) continue;
    chart.setData(columns(source));
    newest(chart);
  }
}

export function startCharts() {
  const boxes = [...document.querySelectorAll("[data-chart]")];
  if (!boxes.length || !window.uPlot) return;
  boxes.forEach(draw);
  document.addEventListener("htmx:wsAfterMessage", update);
  document.addEventListener("htmx:afterSettle", update);
  document.addEventListener("hub:theme", () => boxes.forEach(draw));
  const resized = new ResizeObserver(() => {
    for (const [box, chart] of charts) chart.setSize({ width: box.clientWidth - 16, height: 160 });
  });
  boxes.forEach((box) => resized.observe(box));
}
