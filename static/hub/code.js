// "Copy as code": the request that the page would send, as curl, Python and JavaScript.

function shell(text) {
  return `'${text.replace(/'/g, "'\\''")}'`;
}

// JSON and Python differ in three words only; strings keep their JSON escapes.
function python(value, indent = "    ") {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return `[\n${value.map((item) => `${indent}    ${python(item, `${indent}    `)},\n`).join("")}${indent}]`;
  }
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${python(item, indent)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

function pythonArguments(request) {
  return Object.entries(request).map(([name, value]) => `    ${name}=${python(value)},\n`).join("");
}

function javascript(value) {
  return JSON.stringify(value, null, 2).replace(/^(\s*)"([a-z_]+)":/gm, "$1$2:");
}

function pythonHead(setup) {
  return `# pip install openai\nimport os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url=${JSON.stringify(setup.baseUrl)}, api_key=os.environ[${JSON.stringify(setup.key)}])\n`;
}

function javascriptHead(setup, imports = "") {
  return `// npm install openai; save as try.mjs; node try.mjs\n${imports}import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: ${JSON.stringify(setup.baseUrl)}, apiKey: process.env.${setup.key} });\n`;
}

function curlJson(path, request, setup, flags = "") {
  return `curl ${flags}${setup.baseUrl}${path} \\\n  -H "Authorization: Bearer $${setup.key}" \\\n  -H "Content-Type: application/json" \\\n  -d ${shell(JSON.stringify(request, null, 2))}`;
}

export function chat(request, setup) {
  const streamed = { ...request, stream: true };
  return {
    curl: curlJson("/chat/completions", streamed, setup, "-N "),
    python: `${pythonHead(setup)}stream = client.chat.completions.create(\n${pythonArguments(streamed)})\nfor chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\nprint()`,
    javascript: `${javascriptHead(setup)}const stream = await client.chat.completions.create(${javascript(streamed)});\nfor await (const chunk of stream) {\n  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\n}\nconsole.log();`,
  };
}

export function embed(request, setup) {
  return {
    curl: curlJson("/embeddings", request, setup),
    python: `${pythonHead(setup)}answer = client.embeddings.create(\n${pythonArguments(request)})\nfor item in answer.data:\n    print(item.index, len(item.embedding), item.embedding[:4])`,
    javascript: `${javascriptHead(setup)}const answer = await client.embeddings.create(${javascript(request)});\nfor (const item of answer.data) {\n  console.log(item.index, item.embedding.length, item.embedding.slice(0, 4));\n}`,
  };
}

export function speech(request, file, setup) {
  const fields = Object.entries(request).map(([name, value]) => ` \\\n  -F ${shell(`${name}=${value}`)}`).join("");
  return {
    curl: `curl ${setup.baseUrl}/audio/transcriptions \\\n  -H "Authorization: Bearer $${setup.key}" \\\n  -F ${shell(`file=@"${file}"`)}${fields}`,
    python: `${pythonHead(setup)}with open(${JSON.stringify(file)}, "rb") as audio:\n    answer = client.audio.transcriptions.create(\n        file=audio,\n${Object.entries(request).map(([name, value]) => `        ${name}=${python(value)},\n`).join("")}    )\nprint(answer.text)`,
    javascript: `${javascriptHead(setup, 'import fs from "node:fs";\n')}const answer = await client.audio.transcriptions.create({\n  file: fs.createReadStream(${JSON.stringify(file)}),\n${Object.entries(request).map(([name, value]) => `  ${name}: ${JSON.stringify(value)},\n`).join("")}});\nconsole.log(answer.text);`,
  };
}
