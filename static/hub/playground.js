// The playground: its three tabs, and the dialog with the same request as code.
import { nextRequest, startChat } from "./play_chat.js";
import { embedRequest, startEmbeddings } from "./play_embed.js";
import { speechFile, speechRequest, startSpeech } from "./play_speech.js";
import * as code from "./code.js";

function setup() {
  const place = document.getElementById("playground").dataset;
  return { baseUrl: place.baseUrl, key: place.keyVariable };
}

const MAKERS = {
  chat: () => code.chat(nextRequest(), setup()),
  embed: () => code.embed(embedRequest(), setup()),
  speech: () => code.speech(speechRequest(), speechFile(), setup()),
};

function startCode() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-code]");
    if (!button) return;
    for (const [language, text] of Object.entries(MAKERS[button.dataset.code]())) {
      document.getElementById(`text-play-${language}`).textContent = text;
    }
    document.getElementById("code-dialog").showModal();
  });
}

startCode();
startChat();
startSpeech();
startEmbeddings();
