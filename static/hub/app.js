// What every page needs: toasts, copy buttons, menus, dialogs, confirmation, sorting, live updates.
import { startLive } from "./live.js";
import { startPalette } from "./palette.js";
import { startTabs } from "./tabs.js";
import { startTables } from "./tables.js";
import { toast, word } from "./notify.js";

function startMenus() {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details[data-menu][open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

function showTheme() {
  for (const button of document.querySelectorAll("[data-theme]")) {
    button.setAttribute("aria-pressed", String(button.dataset.theme === window.hubTheme.chosen()));
  }
}

function startTheme() {
  document.addEventListener("hub:theme", showTheme);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme]");
    if (!button) return;
    window.hubTheme.choose(button.dataset.theme);
    button.closest("details")?.removeAttribute("open");
  });
  showTheme();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(word("copied"), "good");
  } catch {
    toast(word("copyFailed"), "bad");
  }
}

function startCopying() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-shown]");
    if (!button) return;
    const named = button.dataset.copy && document.getElementById(button.dataset.copy);
    const source = named || button.closest(".code").querySelector("[role=tabpanel]:not([hidden]) code");
    copy((source.value ?? source.textContent).trim());
  });
}

function startDialogs() {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens).showModal();
    if (event.target.closest("[data-closes]")) event.target.closest("dialog").close();
    if (event.target instanceof HTMLDialogElement) event.target.close("cancel");
  });
}

// A form with data-confirm asks first; the dialog names the consequence.
function startConfirming() {
  const dialog = document.getElementById("confirm");
  if (!dialog) return;
  let asked = null;
  document.addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      if (!form.dataset.confirm || form.dataset.confirmed) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      asked = form;
      document.getElementById("confirm-title").textContent = form.dataset.confirm;
      document.getElementById("confirm-text").textContent = form.dataset.consequence || "";
      document.getElementById("confirm-yes").textContent = form.dataset.yes;
      dialog.returnValue = "cancel";
      dialog.showModal();
    },
    true,
  );
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes" || !asked) return;
    const form = asked.id ? document.getElementById(asked.id) || asked : asked;
    form.dataset.confirmed = "yes";
    form.requestSubmit();
    delete form.dataset.confirmed;
  });
}

function startRequests() {
  document.addEventListener("hub-toast", (event) => toast(event.detail.text, event.detail.tone));
  document.addEventListener("htmx:sendError", (event) => {
    // Polls say it beside the dot: a toast for each would bury the page.
    if (event.detail.requestConfig.verb !== "get") toast(word("requestFailed"), "bad");
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Trigger")) return;
    if (event.detail.requestConfig.verb !== "get") toast(word("requestFailed"), "bad");
  });
}

startMenus();
startTheme();
startCopying();
startDialogs();
startConfirming();
startRequests();
startPalette();
startTabs();
startTables();
startLive();
