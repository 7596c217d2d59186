// Uploads a model in parts: looks first, goes on after any break, says speed and time left.
import { csrf } from "./notify.js";
import { sha256 } from "./sha256.js";

const RETRIES_MS = [500, 2000, 5000, 15000];
const HEAD_BYTES = 12 * 2 ** 20; // of all beginnings together, as much as the server takes
const GGUF_HEAD_BYTES = 8 * 2 ** 20;
const SMALL_BYTES = 2 ** 20;
const TELLING = /(^|\/)(config|adapter_config|modules|open_clip_config|tokenizer_config|processor_config|chat_template)\.json$|\.safetensors\.index\.json$|\.jinja$|README\.md$/;

const box = document.getElementById("upload");
const at = (id) => document.getElementById(id);
const state = { files: [], upload: null, paused: false, running: false, sent: 0, total: 0, since: 0 };

class Refused extends Error {}

async function ask(method, path, body, headers = {}) {
  const json = body && !(body instanceof ArrayBuffer);
  const answer = await fetch(`/api/v1/uploads${path}`, {
    method,
    headers: { "X-CSRFToken": csrf(), ...(json ? { "Content-Type": "application/json" } : {}), ...headers },
    body: json ? JSON.stringify(body) : body,
  });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const text = await answer.json().then((found) => found.error.message, () => `HTTP ${answer.status}`);
  if (answer.status < 500 && answer.status !== 429) throw new Refused(text);
  throw new Error(text);
}

function tell(problem, note = "") {
  at("upload-problem").hidden = !problem;
  at("upload-problem").querySelector("span").textContent = problem;
  at("upload-note").textContent = note;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let number = bytes;
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit ? number.toPrecision(3) : number} ${units[unit]}`;
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

// --- choosing and looking --------------------------------------------------------------------------

function pathOf(file) {
  const inside = (file.webkitRelativePath || file.name).split("/");
  return (inside.length > 1 ? inside.slice(1) : inside).join("/");
}

function choose(list) {
  const taken = new RegExp(`^(?:${box.dataset.taken})$`, "i");
  const all = [...list].map((file) => ({ path: pathOf(file), file })).filter(({ file }) => file.size);
  state.files = all.filter(({ path }) => taken.test(path));
  const left = all.filter(({ path }) => !taken.test(path)).map(({ path }) => path);
  state.upload = unfinished();
  at("upload-start").disabled = !state.files.length;
  if (!state.files.length) return tell(box.dataset.nothing);
  tell("", state.upload ? box.dataset.goesOn : left.length ? `${box.dataset.skipped} ${left.slice(0, 8).join(", ")}` : "");
  if (state.upload) at("name").value = state.upload.name;
  else if (!at("name").value) at("name").value = usualName(list[0]);
  return look();
}

function usualName(file) {
  const folder = (file.webkitRelativePath || "").split("/")[0];
  return (folder || state.files[0].path.replace(/\.[^.]*$/, "")).replace(/[^A-Za-z0-9._:@+-]+/g, "-");
}

function unfinished() {
  const chosen = new Set(state.files.map(({ path, file }) => `${path} ${file.size}`));
  for (const item of box.querySelectorAll("[data-upload]")) {
    const files = JSON.parse(item.dataset.files);
    if (files.every(([path, bytes]) => chosen.has(`${path} ${bytes}`))) {
      return { id: item.dataset.upload, name: item.dataset.name, files };
    }
  }
  return null;
}

async function headBytes({ path, file }) {
  if (TELLING.test(path)) return Math.min(file.size, SMALL_BYTES);
  if (/\.gguf$/i.test(path)) return Math.min(file.size, GGUF_HEAD_BYTES);
  if (!/\.safetensors$/i.test(path) || file.size < 8) return 0;
  const first = new DataView(await file.slice(0, 8).arrayBuffer());
  return Math.min(file.size, 8 + Number(first.getBigUint64(0, true)));
}

async function look() {
  const form = new FormData();
  const lines = [];
  const heads = [];
  let room = HEAD_BYTES;
  for (const one of state.files) {
    const length = Math.min(await headBytes(one), room);
    room -= length;
    lines.push([one.path, one.file.size, length]);
    heads.push(one.file.slice(0, length));
  }
  form.append("files", JSON.stringify(lines));
  form.append("heads", new Blob(heads), "heads");
  const answer = await fetch(box.dataset.look, { method: "POST", headers: { "X-CSRFToken": csrf() }, body: form });
  if (!answer.ok) return;
  const shown = document.createElement("template");
  shown.innerHTML = await answer.text();
  at("preview").replaceChildren(shown.content);
}

// --- sending ---------------------------------------------------------------------------------------

async function begin() {
  if (state.upload) return ask("POST", `/${state.upload.id}/resume`);
  const files = state.files.map(({ path, file }) => ({ path, size_bytes: file.size }));
  const body = { name: at("name").value.trim(), files };
  if (at("base").value) body.base = at("base").value;
  return ask("POST", "", body);
}

async function sendPart(upload, place, number) {
  const { path } = upload.files[place];
  const { file } = state.files.find((one) => one.path === path);
  const begins = number * upload.part_bytes;
  const data = await file.slice(begins, begins + upload.part_bytes).arrayBuffer();
  const digest = await sha256(data);
  await ask("PUT", `/${upload.id}/${place}/${number}`, data, { "Content-Type": "application/octet-stream", "X-Part-SHA256": digest });
  state.sent += data.byteLength;
  showProgress();
}

async function patiently(act) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof Refused || tries >= RETRIES_MS.length || state.paused) throw error;
      tell("", box.dataset.broken);
      await new Promise((done) => setTimeout(done, RETRIES_MS[tries]));
    }
  }
}

function showProgress() {
  const passed = (performance.now() - state.since) / 1000;
  const speed = (state.sent - state.before) / Math.max(passed, 0.001);
  const percent = Math.min(100, (100 * state.sent) / state.total);
  const left = speed ? `, ${duration((state.total - state.sent) / speed)} ${box.dataset.left}` : "";
  at("upload-progress").querySelector("progress").value = percent;
  at("upload-speed").textContent = `${Math.floor(percent)} % · ${size(state.sent)} / ${size(state.total)} · ${size(speed)}/s${left}`;
}

function startCounting(upload) {
  const parts = upload.missing.flatMap((numbers, place) => numbers.map((number) => [place, number]));
  const bytesOf = ([place, number]) => Math.min(upload.part_bytes, upload.files[place].size_bytes - number * upload.part_bytes);
  state.total = upload.files.reduce((sum, file) => sum + file.size_bytes, 0);
  state.before = state.sent = state.total - parts.reduce((sum, part) => sum + bytesOf(part), 0);
  state.since = performance.now();
  at("upload-progress").hidden = false;
  showProgress();
  return parts;
}

function showRunning(running) {
  state.running = running;
  at("upload-start").hidden = running || Boolean(state.upload && state.paused);
  at("upload-pause").hidden = !state.upload;
  const [pause, goOn] = at("upload-pause").children;
  pause.hidden = !running;
  goOn.hidden = running;
  for (const id of ["upload-files", "upload-folder", "name", "base"]) at(id).disabled = Boolean(state.upload);
}

async function run() {
  state.paused = false;
  const upload = await begin();
  state.upload = { id: upload.id, name: upload.name, files: upload.files.map((f) => [f.path, f.size_bytes]) };
  showRunning(true);
  tell("");
  for (const [place, number] of startCounting(upload)) {
    if (state.paused) return;
    await patiently(() => sendPart(upload, place, number));
  }
  tell("", box.dataset.checking);
  await patiently(() => ask("POST", `/${upload.id}/complete`));
  window.removeEventListener("beforeunload", warn);
  window.location.assign(`${box.dataset.models}about/${upload.name.split("/").map(encodeURIComponent).join("/")}/`);
}

function warn(event) {
  if (state.running) event.preventDefault();
}

async function start() {
  try {
    await run();
  } catch (error) {
    tell(error.message);
    state.paused = true;
  }
  if (state.paused) showRunning(false);
}

function acceptDrops() {
  const drop = at("upload-drop");
  drop.addEventListener("dragover", (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!state.upload || !state.running) choose(event.dataTransfer.files);
  });
}

for (const id of ["upload-files", "upload-folder"]) at(id).addEventListener("change", (event) => choose(event.target.files));
at("upload-start").addEventListener("click", start);
at("upload-pause").addEventListener("click", () => (state.running ? (state.paused = true) : start()));
window.addEventListener("beforeunload", warn);
acceptDrops();
