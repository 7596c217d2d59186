// Model output is untrusted: markdown becomes HTML, and only harmless HTML reaches the page.

const RULES = {
  USE_PROFILES: { html: true },
  FORBID_TAGS: ["style", "form", "input", "button", "select", "textarea", "img", "picture", "video", "audio", "source", "svg", "math", "iframe", "object", "embed", "link", "meta", "base", "dialog", "template"],
  FORBID_ATTR: ["style", "id", "name", "class", "srcset", "action", "formaction", "background", "ping"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
  RETURN_DOM_FRAGMENT: true,
};

function escape(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
}

// Tags that a model writes are shown as text, not obeyed.
const renderer = { html: (token) => escape(token.text) };
let ready = false;

export function show(element, text) {
  if (!ready) {
    window.marked.use({ renderer, gfm: true, breaks: true });
    ready = true;
  }
  const fragment = window.DOMPurify.sanitize(window.marked.parse(text), RULES);
  for (const link of fragment.querySelectorAll("a[href]")) {
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
  }
  for (const block of fragment.querySelectorAll("pre")) block.tabIndex = 0;
  element.replaceChildren(fragment);
}
