// Files for a data set: each is sent as soon as it is chosen; the form then names it by its id.
import { send } from "./parts.js";

const form = document.getElementById("bring");
const words = form.dataset;
const busy = new Set();

function complain(text) {
  const notice = document.getElementById("bring-problem");
  notice.hidden = !text;
  notice.querySelector("span").textContent = text;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toPrecision(3)} kB` : `${(bytes / 1e6).toPrecision(3)} MB`;
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

function refusal(file) {
  if (!file.size) return words.empty;
  return file.size > Number(words.mostBytes) ? words.tooLarge : "";
}

function shows(place, file) {
  const line = place.querySelector("progress");
  const told = place.querySelector("[data-told]");
  const since = performance.now();
  line.hidden = false;
  return (done, from) => {
    const speed = ((done - from) * 1000) / Math.max(1, performance.now() - since);
    line.value = (100 * done) / file.size;
    const left = speed && done < file.size ? `, ${duration((file.size - done) / speed)} ${words.left}` : "";
    told.textContent = `${file.name} · ${size(done)} / ${size(file.size)}${speed ? ` · ${size(speed)}/s` : ""}${left}`;
  };
}

async function bring(place, file) {
  const told = place.querySelector("[data-told]");
  const wrong = refusal(file);
  complain(wrong);
  if (wrong || busy.has(place)) return;
  busy.add(place);
  enable();
  try {
    const tell = shows(place, file);
    form.elements[place.dataset.brings].value = await send(file, tell, () => (told.textContent = words.broken));
    told.textContent = `${file.name} · ${size(file.size)} · ${words.here}`;
    const name = form.elements.name;
    if (name && !name.value && place.dataset.brings === "file_id") name.value = file.name.replace(/\.[^.]*$/, "");
  } catch (error) {
    complain(error.message);
  }
  place.querySelector("progress").hidden = true;
  busy.delete(place);
  enable();
}

function enable() {
  form.querySelector("button[type=submit]").disabled = busy.size > 0;
}

for (const place of form.querySelectorAll("[data-brings]")) {
  const input = place.querySelector("input[type=file]");
  input.addEventListener("change", () => bring(place, input.files[0]));
  if (input.files[0]) bring(place, input.files[0]); // chosen before this script was here
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) bring(place, event.dataTransfer.files[0]);
  });
}
window.addEventListener("beforeunload", (event) => busy.size && event.preventDefault());
