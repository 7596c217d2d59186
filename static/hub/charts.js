// uPlot charts; each reads its columns from a live panel, so a push needs no second channel.
import { word } from "./notify.js";

const charts = new Map();

// Of each kind: how much of the past, the scales by their names, and the lines with their columns.
const KINDS = {
  hub: {
    spanS: 300,
    scales: { tokens: { least: 10, size: 44, label: "tokens" }, requests: { least: 4, side: 1, size: 32, whole: true, label: "running" } },
    lines: [
      { column: "tokens_per_s", scale: "tokens", word: "tokens", colour: "--hub-accent", fill: true },
      { column: "running", scale: "requests", word: "running", colour: "--hub-hue-1" },
      { column: "waiting", scale: "requests", word: "waiting", colour: "--hub-hue-3", dash: [4, 3] },
    ],
  },
  requests: {
    spanS: 3600,
    scales: { n: { least: 4, size: 34, whole: true } },
    lines: [
      { column: "requests", scale: "n", word: "answered", colour: "--hub-accent", fill: true },
      { column: "failures", scale: "n", word: "failed", colour: "--hub-bad", dash: [4, 3] },
    ],
  },
  first: {
    spanS: 3600,
    scales: { s: { least: 0.1, size: 40 } },
    lines: [
      { column: "first_p50_s", scale: "s", word: "half", colour: "--hub-accent", unit: "s", points: true },
      { column: "first_p95_s", scale: "s", word: "most", colour: "--hub-hue-3", unit: "s", points: true, dash: [4, 3] },
    ],
  },
  speed: {
    spanS: 3600,
    scales: { tokens: { least: 10, size: 40 } },
    lines: [{ column: "tokens_per_s", scale: "tokens", word: "tokens", colour: "--hub-accent", points: true }],
  },
  // of a training: all of it, on one axis of time
  loss: {
    scales: { loss: { least: 0.01, size: 48 } },
    lines: [
      { column: "train_loss", scale: "loss", word: "loss", colour: "--hub-accent", gaps: true },
      { column: "valid_loss", scale: "loss", word: "validLoss", colour: "--hub-hue-3", points: true, gaps: true },
    ],
  },
  rate: {
    scales: { rate: { least: 1e-9, size: 62 } },
    lines: [{ column: "learning_rate", scale: "rate", word: "rate", colour: "--hub-hue-2", gaps: true }],
  },
  pace: {
    scales: { tokens: { least: 10, size: 48 } },
    lines: [{ column: "tokens_per_s", scale: "tokens", word: "tokens", colour: "--hub-hue-1", gaps: true }],
  },
  held: {
    scales: { gb: { least: 0.1, size: 48 } },
    lines: [{ column: "memory_gb", scale: "gb", word: "memory", colour: "--hub-hue-4", unit: "GB", fill: true, gaps: true }],
  },
};

function clock(at, withSeconds) {
  const seconds = withSeconds ? { second: "2-digit" } : {};
  return new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...seconds });
}

// Marks that lie less than a minute apart need their seconds to differ.
function clocks(_, marks) {
  const isDense = marks.length > 1 && marks[1] - marks[0] < 60;
  return marks.map((at) => clock(at, isDense));
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function kindOf(box) {
  return KINDS[box.dataset.kind || "hub"];
}

function columns(box, source) {
  const data = JSON.parse(source.dataset.series || "{}");
  return [data.at || [], ...kindOf(box).lines.map(({ column }) => data[column] || [])];
}

export function axis(extra) {
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
export function newest(chart) {
  const last = chart.data[0].length - 1;
  if (last >= 0 && chart.cursor.left < 0) chart.setLegend({ idx: last }, false);
}

// Without a span of its own a chart shows all there is, and a moment where there is one point.
function spanOf(low, high, spanS) {
  return spanS ? [high - spanS, high] : [Math.min(low ?? high - 1, high - 1), high];
}

function scalesOf({ spanS, scales }) {
  const found = { x: { range: (_, low, high) => spanOf(low, high || Date.now() / 1000, spanS) } };
  for (const [name, { least }] of Object.entries(scales)) found[name] = { range: (_, low, high) => [0, Math.max(least, (high || 0) * 1.1)] };
  return found;
}

function axesOf({ scales }) {
  const whole = (_, values) => values.map((number) => (Number.isInteger(number) ? number : ""));
  const short = (_, values) => values.map((number) => (number === null ? "" : `${+number.toPrecision(4)}`));
  const upright = Object.entries(scales).map(([scale, { side, size, label, whole: isWhole }]) =>
    axis({
      scale,
      size,
      ...(side ? { side, grid: { show: false } } : {}),
      ...(label ? { label: word(label) } : {}),
      values: isWhole ? whole : short,
    }),
  );
  return [axis({ space: 80, size: 28, values: clocks }), ...upright];
}

function lineOf(line) {
  const stroke = colour(line.colour);
  const rounded = (_, number) => (number === null || number === undefined ? "–" : `${+number.toPrecision(3)}${line.unit ? ` ${line.unit}` : ""}`);
  return {
    label: word(line.word),
    scale: line.scale,
    stroke,
    width: line.fill ? 1.75 : 1.5,
    points: { show: Boolean(line.points), size: 5 },
    spanGaps: Boolean(line.gaps),
    value: rounded,
    ...(line.dash ? { dash: line.dash } : {}),
    ...(line.fill ? { fill: `color-mix(in srgb, ${stroke} 12%, transparent)` } : {}),
  };
}

function options(box) {
  const kind = kindOf(box);
  return {
    width: Math.max(120, box.clientWidth - 16),
    height: 160,
    hooks: { setCursor: [newest] },
    cursor: { y: false, points: { size: 7 }, ...(box.dataset.kind ? { sync: { key: box.dataset.chart } } : {}) },
    scales: scalesOf(kind),
    axes: axesOf(kind),
    series: [{ label: word("time"), value: "{HH}:{mm}:{ss}" }, ...kind.lines.map(lineOf)],
  };
}

function draw(box) {
  const source = document.getElementById(box.dataset.chart);
  if (!source) return;
  charts.get(box)?.destroy();
  charts.set(box, new window.uPlot(options(box), columns(box, source), box));
  newest(charts.get(box));
}

function update() {
  for (const [box, chart] of charts) {
    const source = document.getElementById(box.dataset.chart);
    if (!source) continue;
    chart.setData(columns(box, source));
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
    for (const [box, chart] of charts) chart.setSize({ width: Math.max(120, box.clientWidth - 16), height: 160 });
  });
  boxes.forEach((box) => resized.observe(box));
}
