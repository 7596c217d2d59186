// The public /v1 API from the browser: the session cookie signs in, the CSRF header proves the page.
import { csrf } from "./notify.js";

export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function explain(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `HTTP ${answer.status}`;
  }
}

export async function post(path, body, signal) {
  const form = body instanceof FormData;
  const answer = await fetch(path, {
    method: "POST",
    headers: { "X-CSRFToken": csrf(), ...(form ? {} : { "Content-Type": "application/json" }) },
    body: form ? body : JSON.stringify(body),
    signal,
  });
  if (!answer.ok) throw new ApiError(await explain(answer), answer.status);
  return answer;
}

// Yield the JSON of each server-sent event; `[DONE]` ends it, an error event throws.
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") return;
      if (!data) continue;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(event.error.message);
      yield event;
    }
  }
}
