// Passkeys: asks the hub what to sign, the device to sign it, and the hub whether it is good.
import { toast, word } from "./notify.js";

function toBytes(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (one) => one.charCodeAt(0));
}

function toText(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function known(list) {
  return (list || []).map((one) => ({ ...one, id: toBytes(one.id) }));
}

async function ask(url, body) {
  const headers = { "X-CSRFToken": document.body.dataset.csrf, "Content-Type": "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body || {}) });
  if (answer.redirected) return { next: answer.url };
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.reason);
  return found;
}

function shown(credential) {
  const { response } = credential;
  const parts = { clientDataJSON: toText(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) parts[name] = toText(response[name]);
  }
  return {
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    response: parts,
    clientExtensionResults: {},
  };
}

async function add(button) {
  const options = await ask(button.dataset.begin);
  if (options.next) return options.next;
  const publicKey = {
    ...options,
    challenge: toBytes(options.challenge),
    user: { ...options.user, id: toBytes(options.user.id) },
    excludeCredentials: known(options.excludeCredentials),
  };
  const credential = shown(await navigator.credentials.create({ publicKey }));
  const name = document.getElementById(button.dataset.name)?.value;
  return (await ask(button.dataset.finish, { credential, name })).next;
}

async function enter(button) {
  const options = await ask(button.dataset.begin);
  const publicKey = {
    ...options,
    challenge: toBytes(options.challenge),
    allowCredentials: known(options.allowCredentials),
  };
  const credential = shown(await navigator.credentials.get({ publicKey }));
  return (await ask(button.dataset.finish, { credential })).next;
}

function say(error) {
  const place = document.getElementById("passkey-trouble");
  const words = { NotAllowedError: "passkeyStopped", InvalidStateError: "passkeyKnown" };
  const text = words[error.name] ? word(words[error.name]) : error.message;
  if (place) place.textContent = text;
  else toast(text, "bad");
}

for (const button of document.querySelectorAll("[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      window.location.assign(await (button.dataset.passkey === "add" ? add(button) : enter(button)));
    } catch (error) {
      say(error);
    } finally {
      button.disabled = false;
    }
  });
}
