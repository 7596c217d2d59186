// A file on its way to /v1/uploads, in parts: goes on after any break, also in a page that is opened again.
import { ApiError, post } from "./api.js";

const PART_BYTES = 8 * 2 ** 20;
const RETRIES_MS = [500, 2000, 5000, 15000];

function keyOf(file) {
  return `hub-upload ${file.name} ${file.size} ${file.lastModified}`;
}

function kept(file) {
  try {
    return JSON.parse(localStorage.getItem(keyOf(file)));
  } catch {
    return null;
  }
}

function keep(file, upload) {
  try {
    if (upload) localStorage.setItem(keyOf(file), JSON.stringify(upload));
    else localStorage.removeItem(keyOf(file));
  } catch {
    // A browser that keeps nothing sends the file in one sitting.
  }
}

async function patiently(act, broke) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (error) {
      const isFinal = error instanceof ApiError && error.status && error.status < 500 && error.status !== 429;
      if (isFinal || tries >= RETRIES_MS.length) throw error;
      broke();
      await new Promise((done) => setTimeout(done, RETRIES_MS[tries]));
    }
  }
}

async function ask(path, body, broke) {
  return patiently(async () => (await post(`/v1/uploads${path}`, body)).json(), broke);
}

async function begun(file, broke) {
  const about = { filename: file.name, purpose: "fine-tune", bytes: file.size, mime_type: file.type || "application/octet-stream" };
  const { id } = await ask("", about, broke);
  return { id, parts: [] };
}

async function sent(file, upload, tell, broke) {
  const from = upload.parts.length * PART_BYTES;
  tell(Math.min(from, file.size), from);
  for (let at = from; at < file.size; at = upload.parts.length * PART_BYTES) {
    const form = new FormData();
    form.append("data", file.slice(at, at + PART_BYTES), "part");
    const part = await ask(`/${upload.id}/parts`, form, broke);
    upload.parts.push(part.id);
    keep(file, upload);
    tell(Math.min(at + PART_BYTES, file.size), from);
  }
  const done = await ask(`/${upload.id}/complete`, { part_ids: upload.parts }, broke);
  keep(file, null);
  return done.file.id;
}

// `tell(bytes that are there, bytes that were there before)`, `broke()` before each new try.
export async function send(file, tell, broke) {
  const before = kept(file);
  if (before) {
    try {
      return await sent(file, before, tell, broke);
    } catch (error) {
      if (!error.status || error.status >= 500) throw error;
      keep(file, null); // it has run out, or is somebody else's: from the start
    }
  }
  return sent(file, await begun(file, broke), tell, broke);
}
