// The transcription tab: a file, a dropped file or the microphone; the text streams in.
import { events, post } from "./api.js";
import { complaint, toast } from "./notify.js";

const by = (id) => document.getElementById(id);
let audio = null; // File
let recorder = null;
let running = null;

function words() {
  return by("play-words").dataset;
}

export function speechRequest() {
  const request = { model: by("speech-model").value };
  if (by("speech-language").value) request.language = by("speech-language").value.trim();
  if (by("speech-prompt").value) request.prompt = by("speech-prompt").value;
  return request;
}

export function speechFile() {
  return audio?.name || "speech.wav";
}

function choose(file) {
  audio = file;
  const player = by("speech-audio");
  if (player.src) URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
}

function form() {
  const body = new FormData();
  body.append("file", audio, audio.name);
  for (const [name, value] of Object.entries(speechRequest())) body.append(name, value);
  body.append("stream", "true");
  return body;
}

function setRunning(controller) {
  running = controller;
  by("speech-send").disabled = Boolean(controller);
  by("speech-stop").hidden = !controller;
}

async function listen() {
  const text = by("speech-text");
  for await (const event of events(await post("/v1/audio/transcriptions", form(), running.signal))) {
    if (event.type === "transcript.text.delta") text.textContent += event.delta;
    if (event.type === "transcript.text.done") text.textContent = event.text;
  }
}

async function transcribe(event) {
  event?.preventDefault();
  if (!audio) {
    by("speech-file").click();
    return;
  }
  const started = performance.now();
  const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
  by("speech-text").textContent = "";
  by("speech-error").replaceChildren();
  setRunning(new AbortController());
  const timer = setInterval(() => (by("speech-stats").textContent = `${words().listening} · ${seconds()} s`), 300);
  try {
    await listen();
    by("speech-stats").textContent = `${words().doneIn} ${seconds()} s`;
  } catch (error) {
    const stopped = error.name === "AbortError";
    by("speech-stats").textContent = stopped ? words().stopped : "";
    if (!stopped) by("speech-error").replaceChildren(complaint(error.message, error.status === 400 ? words().otherFile : ""));
  } finally {
    clearInterval(timer);
    setRunning(null);
  }
}

function setRecording(on, label) {
  const button = by("speech-record");
  button.setAttribute("aria-pressed", String(on));
  button.querySelector("span").textContent = label;
}

async function record() {
  const button = by("speech-record");
  if (recorder) {
    recorder.stop();
    return;
  }
  const label = button.querySelector("span").textContent;
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
    recorder.addEventListener("stop", () => {
      const type = recorder.mimeType || "audio/webm";
      stream.getTracks().forEach((track) => track.stop());
      recorder = null;
      setRecording(false, label);
      choose(new File(pieces, `${words().recorded}.${type.includes("mp4") ? "mp4" : "webm"}`, { type }));
      transcribe();
    });
    recorder.start();
    setRecording(true, words().recording);
  } catch {
    recorder = null;
    toast(words().noMicrophone, "bad");
  }
}

function startDrop() {
  const place = by("speech-drop");
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
  });
}

export function startSpeech() {
  if (!by("speech-form")) return;
  by("speech-form").addEventListener("submit", transcribe);
  by("speech-file").addEventListener("change", (event) => {
    if (event.target.files[0]) choose(event.target.files[0]);
  });
  by("speech-record").addEventListener("click", record);
  by("speech-stop").addEventListener("click", () => running?.abort());
  startDrop();
}
