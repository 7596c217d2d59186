// The chart of the page Usage: tokens read and written, and requests, by hour or day.
import { axis, colour, newest } from "./charts.js";
import { word } from "./notify.js";

const HEIGHT = 220;
const HOUR = 3600;
const DAY = 24 * HOUR;

function columns(source) {
  const data = JSON.parse(source.dataset.series);
  return [data.at, data.prompt_tokens, data.completion_tokens, data.requests];
}

function time(source, at) {
  const text = new Date(at * 1000).toISOString();
  return source.dataset.hourly === "yes" ? text.slice(11, 16) : text.slice(5, 10);
}

function short(number) {
  if (number >= 1e6) return `${+(number / 1e6).toPrecision(3)}M`;
  return number >= 1e4 ? `${+(number / 1e3).toPrecision(3)}k` : `${number}`;
}

function line(label, scale, hue) {
  const stroke = colour(hue);
  const fill = `color-mix(in srgb, ${stroke} 14%, transparent)`;
  return { label, scale, stroke, fill: scale === "tokens" ? fill : undefined, width: 1.75, points: { size: 5 }, value: (_, number) => (number == null ? "–" : short(number)) };
}

function options(box, source) {
  const words = source.dataset;
  const steps = words.hourly === "yes" ? [1, 2, 3, 4, 6, 12].map((n) => n * HOUR) : [1, 2, 7, 14, 28, 91].map((n) => n * DAY);
  const whole = (_, values) => values.map((number) => (Number.isInteger(number) ? short(number) : ""));
  return {
    width: box.clientWidth - 16,
    height: HEIGHT,
    hooks: { setCursor: [newest] },
    cursor: { y: false, points: { size: 7 } },
    scales: { x: { time: true }, tokens: { range: (_, low, high) => [0, Math.max(10, high * 1.1)] }, requests: { range: (_, low, high) => [0, Math.max(4, high * 1.1)] } },
    axes: [axis({ space: 70, incrs: steps, values: (_, times) => times.map((at) => time(source, at)) }), axis({ scale: "tokens", size: 52, label: words.all, values: whole }), axis({ scale: "requests", side: 1, grid: { show: false }, size: 40, values: whole, label: word("requests") })],
    series: [{ label: word("time"), value: (_, at) => (at == null ? "–" : new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ")) }, line(words.prompt, "tokens", "--hub-accent"), line(words.completion, "tokens", "--hub-hue-1"), { ...line(word("requests"), "requests", "--hub-hue-3"), dash: [4, 3] }],
  };
}

function start() {
  const box = document.querySelector("[data-usage-chart]");
  const source = box && document.getElementById(box.dataset.usageChart);
  if (!source || !window.uPlot) return;
  let chart = null;
  const draw = () => {
    chart?.destroy();
    chart = new window.uPlot(options(box, source), columns(source), box);
    newest(chart);
  };
  draw();
  document.addEventListener("hub:theme", draw);
  new ResizeObserver(() => chart.setSize({ width: box.clientWidth - 16, height: HEIGHT })).observe(box);
}

start();
