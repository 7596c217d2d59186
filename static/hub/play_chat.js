// The chat tab: a conversation that lives in this page only.
import { figures, streamChat } from "./chat.js";
import { show } from "./markdown.js";
import { complaint, icon, toast, word } from "./notify.js";

const by = (id) => document.getElementById(id);
const turns = []; // { role, content, view }
let running = null; // AbortController

function words() {
  return by("play-words").dataset;
}

function number(id, request, name) {
  const value = by(id).value;
  if (value !== "") request[name] = Number(value);
}

// What is sent next: the conversation, and what stands in the box. With an empty box, what was sent last.
export function nextRequest() {
  const written = by("chat-text").value.trim();
  const spoken = [...turns];
  if (written) return chatRequest([...spoken, { role: "user", content: written }]);
  while (spoken.at(-1)?.role === "assistant") spoken.pop();
  return chatRequest(spoken.length ? spoken : [{ role: "user", content: "Say hello." }]);
}

function chatRequest(messages) {
  const system = by("chat-system").value.trim();
  const spoken = messages.map(({ role, content }) => ({ role, content }));
  const request = {
    model: by("chat-model").value,
    messages: system ? [{ role: "system", content: system }, ...spoken] : spoken,
  };
  number("chat-temperature", request, "temperature");
  number("chat-top-p", request, "top_p");
  number("chat-max", request, "max_tokens");
  number("chat-seed", request, "seed");
  if (by("chat-stop-text").value) request.stop = [by("chat-stop-text").value];
  return request;
}

function action(name, text, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-small btn-ghost";
  button.append(icon(name), text);
  button.addEventListener("click", act);
  return button;
}

function addTurn(role, content) {
  const view = document.createElement("article");
  const who = document.createElement("p");
  const body = document.createElement("div");
  const foot = document.createElement("p");
  view.className = `turn turn-${role}`;
  who.className = "turn-who";
  who.textContent = role === "user" ? words().you : by("chat-model").value;
  body.className = "turn-body";
  foot.className = "turn-foot small soft tab";
  view.append(who, body, foot);
  by("chat-empty").hidden = true;
  by("chat-log").append(view);
  const turn = { role, content, view, body, foot };
  turns.push(turn);
  return turn;
}

function scroll(force = false) {
  const log = by("chat-log");
  if (force || log.scrollHeight - log.scrollTop - log.clientHeight < 120) log.scrollTop = log.scrollHeight;
}

function cutFrom(turn) {
  const at = turns.indexOf(turn);
  for (const old of turns.splice(at)) old.view.remove();
  by("chat-empty").hidden = turns.length > 0;
}

function edit(turn) {
  running?.abort();
  by("chat-text").value = turn.content;
  cutFrom(turn);
  by("chat-text").focus();
}

function addUser(text) {
  const turn = addTurn("user", text);
  turn.body.textContent = text;
  turn.foot.append(action("pencil", words().edit, () => edit(turn)));
}

function setRunning(controller) {
  running = controller;
  by("chat-send").hidden = Boolean(controller);
  by("chat-stop").hidden = !controller;
  by("chat-log").setAttribute("aria-busy", String(Boolean(controller)));
}

// Draw at most once per frame, however fast the tokens come.
function painter(turn) {
  let frame = 0;
  const draw = (answer) => {
    frame = 0;
    show(turn.body, turn.content);
    turn.foot.replaceChildren(figures(answer, words()));
    scroll();
  };
  return {
    take: (answer) => {
      turn.content = answer.text;
      frame ||= requestAnimationFrame(() => draw(answer));
    },
    end: () => cancelAnimationFrame(frame),
  };
}

function waiting(turn) {
  const started = performance.now();
  const tick = () => {
    if (turn.content) return;
    turn.foot.textContent = `${words().thinking} · ${((performance.now() - started) / 1000).toFixed(0)} s`;
  };
  tick();
  return setInterval(tick, 500);
}

async function copyTurn(turn) {
  try {
    await navigator.clipboard.writeText(turn.content);
    toast(word("copied"), "good");
  } catch {
    toast(word("copyFailed"), "bad");
  }
}

function finish(turn, answer, note) {
  if (turn.content) show(turn.body, turn.content);
  const line = [answer && figures(answer, words()), note].filter(Boolean).join(" · ");
  turn.foot.replaceChildren(line);
  turn.foot.append(action("copy", words().copy, () => copyTurn(turn)));
  turn.foot.append(action("refresh", words().again, () => again(turn)));
}

function fail(turn, error) {
  const notice = complaint(`${words().failed} ${error.message}`);
  turn.body.hidden = !turn.content;
  turn.view.append(notice);
  turns.splice(turns.indexOf(turn), 1);
  turn.foot.replaceChildren(action("refresh", words().again, () => {
    turn.view.remove();
    answer();
  }));
}

function parametersFit() {
  return [...document.querySelectorAll("input[form=chat-form]")].every((field) => field.reportValidity());
}

function again(turn) {
  if (!parametersFit()) return;
  running?.abort();
  cutFrom(turn);
  answer();
}

async function answer() {
  const request = chatRequest(turns);
  const controller = new AbortController();
  const turn = addTurn("assistant", "");
  const timer = waiting(turn);
  const paint = painter(turn);
  let last = null;
  setRunning(controller);
  scroll(true);
  try {
    last = await streamChat(request, {
      signal: controller.signal,
      onText: (state) => {
        last = { ...state };
        paint.take(last);
      },
    });
    paint.end();
    finish(turn, last, last.finish === "length" ? words().cut : last.finish ? "" : words().ended);
  } catch (error) {
    paint.end();
    if (error.name === "AbortError") finish(turn, last, words().stopped);
    else fail(turn, error);
  } finally {
    clearInterval(timer);
    if (running === controller) setRunning(null);
    scroll();
  }
}

function send(event) {
  event.preventDefault();
  const text = by("chat-text").value.trim();
  if (!text || running) return;
  by("chat-text").value = "";
  addUser(text);
  answer();
}

function clear() {
  running?.abort();
  if (turns.length) cutFrom(turns[0]);
  by("chat-log").querySelectorAll(".turn").forEach((view) => view.remove());
  by("chat-text").focus();
}

export function startChat() {
  if (!by("chat-form")) return;
  by("chat-form").addEventListener("submit", send);
  by("chat-stop").addEventListener("click", () => running?.abort());
  by("chat-new").addEventListener("click", clear);
  by("chat-text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    by("chat-form").requestSubmit();
  });
  for (const idea of document.querySelectorAll("[data-idea]")) {
    idea.addEventListener("click", () => {
      by("chat-text").value = idea.textContent;
      by("chat-form").requestSubmit();
    });
  }
}
