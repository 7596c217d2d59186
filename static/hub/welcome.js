// The first chat on the set-up page.
import { figures, streamChat } from "./chat.js";
import { show } from "./markdown.js";
import { complaint } from "./notify.js";

const box = document.getElementById("hello");
const log = box.querySelector(".hello-log");
const stats = box.querySelector(".hello-stats");
const words = document.getElementById("play-words").dataset;

async function say(event) {
  event.preventDefault();
  const button = event.submitter;
  const body = document.createElement("div");
  body.className = "turn-body";
  log.replaceChildren(body);
  button.disabled = true;
  stats.textContent = words.thinking;
  try {
    const request = {
      model: box.dataset.model,
      messages: [{ role: "user", content: box.querySelector("textarea").value }],
      max_tokens: 200,
      temperature: 0.3,
    };
    const onText = (answer) => {
      show(body, answer.text);
      stats.textContent = figures(answer, words) || words.thinking;
    };
    await streamChat(request, { onText });
    document.body.dispatchEvent(new Event("hub-steps"));
  } catch (error) {
    stats.textContent = "";
    log.replaceChildren(complaint(`${words.failed} ${error.message}`));
  } finally {
    button.disabled = false;
  }
}

box.querySelector("form").addEventListener("submit", say);
