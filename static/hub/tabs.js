// Tabs by the book: one tab stop, arrows move, the panel follows; the address keeps the choice.

function select(tab, { focus = false } = {}) {
  for (const other of tab.closest("[role=tablist]").querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  if (tab.dataset.hash) history.replaceState(null, "", `#${tab.dataset.hash}`);
}

function onKey(event) {
  const tab = event.target.closest("[role=tab]");
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!tab || !step) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
  select(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], { focus: true });
}

export function startTabs() {
  document.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) select(tab);
  });
  document.addEventListener("keydown", onKey);
  openNamed();
  window.addEventListener("hashchange", openNamed);
}

function openNamed() {
  const hash = window.location.hash.slice(1);
  const named = hash && document.querySelector(`[role=tab][data-hash="${CSS.escape(hash)}"]`);
  if (named) select(named);
}
