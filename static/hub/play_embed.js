// The embeddings tab: each line a vector, each pair a similarity.
import { post } from "./api.js";
import { complaint, toast } from "./notify.js";

const by = (id) => document.getElementById(id);

function lines() {
  return by("embed-text").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

export function embedRequest() {
  const request = { model: by("embed-model").value, input: lines() };
  if (by("embed-dimensions").value) request.dimensions = Number(by("embed-dimensions").value);
  return request;
}

function cosine(a, b) {
  let [dot, x, y] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    dot += a[i] * b[i];
    x += a[i] * a[i];
    y += b[i] * b[i];
  }
  return dot / (Math.sqrt(x * y) || 1);
}

function cell(tag, text, scope) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (scope) element.scope = scope;
  return element;
}

function matrix(texts, vectors) {
  const table = document.createElement("table");
  table.className = "matrix";
  table.style.setProperty("--columns", String(texts.length));
  const head = table.createTHead().insertRow();
  head.append(cell("td", ""), ...texts.map((_, index) => cell("th", String(index + 1), "col")));
  const body = table.createTBody();
  texts.forEach((text, index) => {
    const row = body.insertRow();
    row.append(cell("th", `${index + 1}. ${text}`, "row"));
    for (const other of vectors) {
      const value = cosine(vectors[index], other);
      const box = cell("td", value.toFixed(2));
      box.style.setProperty("--score", String(Math.max(0, Math.min(1, value))));
      row.append(box);
    }
  });
  return table;
}

async function compare(event) {
  event.preventDefault();
  const words = by("play-words").dataset;
  const texts = lines();
  if (texts.length < 2) {
    toast(words.twoLines, "bad");
    return;
  }
  const started = performance.now();
  const button = event.submitter;
  if (button) button.disabled = true;
  try {
    const answer = await (await post("/v1/embeddings", { ...embedRequest(), encoding_format: "float" })).json();
    const vectors = answer.data.map((item) => item.embedding);
    by("embed-result").replaceChildren(matrix(texts, vectors));
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    by("embed-stats").textContent = `${vectors[0].length} ${words.dimensions} · ${answer.usage.prompt_tokens} ${words.tokens} · ${seconds} s`;
  } catch (error) {
    by("embed-result").replaceChildren(complaint(error.message));
  } finally {
    if (button) button.disabled = false;
  }
}

export function startEmbeddings() {
  by("embed-form")?.addEventListener("submit", compare);
}
