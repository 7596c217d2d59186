// The command palette: Ctrl-K, type, arrows, Enter.
import { icon, word } from "./notify.js";

let entries = [];
let shown = [];
let at = 0;

function row(entry, index) {
  const item = document.createElement("li");
  const title = document.createElement("span");
  const group = document.createElement("small");
  item.id = `palette-${index}`;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", String(index === at));
  title.textContent = entry.title;
  group.textContent = entry.group;
  item.append(icon(entry.icon), title, group);
  item.addEventListener("click", () => open(entry));
  return item;
}

function open(entry) {
  document.getElementById("palette").close();
  if (entry.theme) window.hubTheme.choose(entry.theme);
  else window.location.assign(entry.url);
}

function draw(dialog) {
  const input = dialog.querySelector("input");
  const list = dialog.querySelector("ul");
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  shown = entries.filter((entry) => {
    const text = `${entry.title} ${entry.group}`.toLowerCase();
    return words.every((part) => text.includes(part));
  }).slice(0, 30);
  at = Math.max(0, Math.min(at, shown.length - 1));
  list.replaceChildren(...shown.map(row));
  if (!shown.length) {
    const none = document.createElement("li");
    none.setAttribute("role", "presentation");
    none.textContent = word("noMatch");
    list.append(none);
  }
  input.setAttribute("aria-activedescendant", shown.length ? `palette-${at}` : "");
  list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
}

// The pages are known at once, from the navigation; the rest comes from the server.
function pages() {
  return [...document.querySelectorAll(".sidebar .nav-group a")].map((link) => ({
    title: link.textContent.trim(),
    group: link.closest(".nav-group").querySelector(".nav-title").textContent,
    icon: link.querySelector("use").getAttribute("href").split("#")[1],
    url: link.href,
  }));
}

async function load(dialog) {
  if (!entries.length) entries = pages();
  draw(dialog);
  const answer = await fetch(dialog.dataset.source, { headers: { Accept: "application/json" } });
  if (answer.ok) entries = (await answer.json()).entries;
  draw(dialog);
}

function onKey(event, dialog) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    at = (at + step + shown.length) % Math.max(1, shown.length);
    draw(dialog);
  } else if (event.key === "Enter" && shown[at]) {
    event.preventDefault();
    open(shown[at]);
  }
}

export function startPalette() {
  const dialog = document.getElementById("palette");
  if (!dialog) return;
  const input = dialog.querySelector("input");
  input.addEventListener("input", () => {
    at = 0;
    draw(dialog);
  });
  dialog.addEventListener("keydown", (event) => onKey(event, dialog));
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    if (!dialog.open) dialog.showModal();
  });
  new MutationObserver(() => {
    if (!dialog.open) return;
    input.value = "";
    at = 0;
    input.focus();
    load(dialog);
  }).observe(dialog, { attributes: true, attributeFilter: ["open"] });
}
