// Live panels: the websocket pushes them; without it they are polled while the page is visible.
import { startCharts } from "./charts.js";
import { followSocket } from "./follow.js";
import { word } from "./notify.js";

const POLL_MS = 3000;
const state = { open: false, paused: false, everOpen: false, away: false };

function nameOf({ paused, open, away, everOpen, failed }) {
  if (paused) return "paused";
  if (open) return "live";
  if (away) return "offline";
  return everOpen || failed ? "polling" : "connecting";
}

function watchPolls() {
  const hears = (away) => () => {
    state.away = away;
    show();
  };
  document.addEventListener("htmx:sendError", hears(true));
  document.addEventListener("htmx:afterOnLoad", hears(false));
}

function show() {
  const toggle = document.getElementById("live-toggle");
  if (!toggle) return;
  toggle.hidden = !document.querySelector("[data-panel]"); // what has ended needs no watching
  const name = nameOf(state);
  toggle.dataset.liveState = name;
  toggle.setAttribute("aria-pressed", String(state.paused));
  document.getElementById("live-word").textContent = word(name);
}

function poll() {
  if (state.paused || state.open || document.hidden) return;
  if (!state.everOpen && !state.failed) return;
  for (const panel of document.querySelectorAll("[data-panel]")) {
    window.htmx.trigger(panel, "hub-poll");
  }
}

// The pulse changes whenever a page about models would: parts that follow it are asked for again.
function follow() {
  if (state.paused || document.hidden) return;
  for (const part of document.querySelectorAll("[data-follows]")) window.htmx.trigger(part, "hub-poll");
}

// Nothing jumps: what the visitor holds (open details, text selection, a menu) is left alone.
// A chart is drawn by its script, from data that is swapped beside it.
function keepOpen() {
  window.Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) => !node.dataset?.chart;
  window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
    !(name === "open" && node instanceof HTMLDetailsElement);
}

function watchSocket(shell) {
  shell.addEventListener("htmx:wsOpen", () => {
    state.open = state.everOpen = true;
    state.away = false;
    show();
  });
  shell.addEventListener("htmx:wsClose", () => {
    state.open = false;
    state.failed = true;
    show();
  });
  shell.addEventListener("htmx:wsError", () => {
    state.failed = true;
    show();
  });
  shell.addEventListener("htmx:wsBeforeMessage", (event) => {
    if (state.paused) event.preventDefault();
  });
  shell.addEventListener("htmx:wsAfterMessage", follow);
}

// A part that names a socket is told when to ask; a socket that is closed leaves it to the polls.
function watchPart(part) {
  document.addEventListener("htmx:afterSettle", show);
  followSocket(part.dataset.socket, {
    refresh: () => {
      const now = document.getElementById(part.id);
      if (!state.paused && !document.hidden && now?.dataset.panel) window.htmx.trigger(now, "hub-poll");
    },
    opened: () => {
      state.open = state.everOpen = true;
      state.away = false;
      show();
    },
    closed: () => {
      state.open = false;
      state.failed = true;
      show();
    },
  });
}

export function startLive() {
  const shell = document.querySelector(".shell[data-live]");
  startCharts();
  if (!document.querySelector("[data-panel]")) return;
  keepOpen();
  const part = document.querySelector("[data-socket]");
  if (shell) watchSocket(shell);
  else if (part) watchPart(part);
  else state.failed = true; // a page without a socket of its own is polled
  document.getElementById("live-toggle")?.addEventListener("click", () => {
    state.paused = !state.paused;
    show();
    follow(); // what changed meanwhile
    for (const one of document.querySelectorAll("[data-socket]")) if (!state.paused) window.htmx.trigger(one, "hub-poll");
  });
  document.addEventListener("hub-toast", () => (state.open ? follow() : poll()));
  watchPolls();
  setInterval(poll, POLL_MS);
  show();
}
