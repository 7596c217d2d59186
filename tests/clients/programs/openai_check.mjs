// Use the official npm client against a hub; prints one JSON object of findings.
// node openai_check.mjs BASE_URL KEY AUDIO_FILE
import fs from "node:fs";
import OpenAI from "openai";

const [baseURL, apiKey, audio] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });

async function chat() {
  const stream = await client.chat.completions.create({
    model: "gpt-4o",
    messages: [{ role: "user", content: "Say hello." }],
    temperature: 0,
    max_tokens: 32,
    stream: true,
  });
  let text = "";
  let finish = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
  }
  return { text, finish };
}

async function embeddings() {
  const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });
  return answer.data.map((row) => row.embedding.length);
}

async function transcript() {
  const answer = await client.audio.transcriptions.create({
    model: "whisper-1",
    file: fs.createReadStream(audio),
  });
  return answer.text;
}

async function refused() {
  try {
    await new OpenAI({ baseURL, apiKey: "hub_wrong", maxRetries: 0 }).models.list();
  } catch (error) {
    return `${error.status} ${error.code}`;
  }
  return "not refused";
}

console.log(
  JSON.stringify({
    chat: await chat(),
    embeddings: await embeddings(),
    transcript: await transcript(),
    refused: await refused(),
  }),
);
