// Toasts, and the translated words that scripts show.

export function word(name) {
  return document.getElementById("words").dataset[name] || "";
}

export function icon(name) {
  const sprite = document.getElementById("words").dataset.sprite;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `${sprite}#${name}`);
  svg.append(use);
  return svg;
}

// An error that stays in its place until the next try; `advice` says what to do.
export function complaint(text, advice = "") {
  const notice = document.createElement("div");
  const words = document.createElement("span");
  notice.className = "notice notice-error";
  notice.setAttribute("role", "alert");
  const begin = /^\p{L}+( |$)/u.test(text) ? text.charAt(0).toUpperCase() : text.charAt(0); // names stay
  const sentence = begin + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
  words.textContent = advice ? `${sentence} ${advice}` : sentence;
  notice.append(icon("alert-triangle"), words);
  return notice;
}

export function toast(text, tone = "") {
  const item = document.createElement("div");
  const words = document.createElement("span");
  const close = document.createElement("button");
  item.className = `toast-item toast-${tone}`;
  words.textContent = text;
  close.type = "button";
  close.setAttribute("aria-label", word("close"));
  close.textContent = "×";
  close.addEventListener("click", () => item.remove());
  item.append(words, close);
  document.getElementById("toasts").append(item);
  setTimeout(() => item.remove(), tone === "bad" ? 12000 : 5000);
}

export function csrf() {
  return document.body.dataset.csrf;
}
