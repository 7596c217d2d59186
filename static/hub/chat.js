// One streamed answer: text as it comes, and its figures.
import { events, post } from "./api.js";

function fresh() {
  return { text: "", tokens: 0, startedAt: performance.now(), firstAt: 0, endedAt: 0, finish: null, model: "" };
}

function take(chunk, answer) {
  const choice = chunk.choices?.[0];
  answer.model = chunk.model || answer.model;
  if (chunk.usage) answer.tokens = chunk.usage.completion_tokens;
  if (!choice) return;
  const text = choice.delta?.content;
  if (text) {
    answer.firstAt ||= performance.now();
    answer.text += text;
    if (!chunk.usage) answer.tokens += 1;
  }
  answer.finish = choice.finish_reason || answer.finish;
}

// Raises ApiError, AbortError.
export async function streamChat(request, { signal, onText }) {
  const answer = fresh();
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  try {
    for await (const chunk of events(await post("/v1/chat/completions", body, signal))) {
      take(chunk, answer);
      answer.endedAt = performance.now();
      onText(answer);
    }
  } finally {
    answer.endedAt = performance.now();
    onText(answer);
  }
  return answer;
}

export function figures(answer, words) {
  if (!answer.firstAt) return "";
  const seconds = (answer.endedAt - answer.firstAt) / 1000;
  const speed = answer.tokens > 1 && seconds > 0 ? (answer.tokens - 1) / seconds : 0;
  const first = (answer.firstAt - answer.startedAt) / 1000;
  return `${speed.toFixed(1)} ${words.perSecond} · ${words.first} ${first.toFixed(2)} s · ${answer.tokens} ${words.tokens}`;
}
