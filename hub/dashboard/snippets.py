"""Code to paste: the same first request as curl, Python and JavaScript."""

import json
from dataclasses import dataclass

from django.db.models import Case, When
from django.http import HttpRequest

from accounts.principals import Principal
from hub.dashboard import guards
from inference import sight
from inference.models import Model

# A short answer, and a temperature at which a small model keeps to its subject.
CALM = {"max_tokens": 64, "temperature": 0.2}
KEY_VARIABLE = "AI_HUB_KEY"
STARTERS_FIRST = Case(When(source="starter", then=0), default=1)
LANGUAGES = (("curl", "curl"), ("python", "Python"), ("javascript", "JavaScript"))


@dataclass(frozen=True, slots=True)
class Snippet:
    """One tab of a code block."""

    id: str
    title: str
    code: str


def base_url(request: HttpRequest) -> str:
    return request.build_absolute_uri("/v1")


def chat_model(who: Principal) -> str:
    """Give the name of a model that chats, or the name it will have."""
    found = sight.models(who).filter(kind="llm", state=Model.State.AVAILABLE)
    row = found.order_by(STARTERS_FIRST, "size_bytes").first()
    return row.name if row else "smollm2-135m-instruct"


def first_chat(request: HttpRequest, key: str) -> list[Snippet]:
    """Give a chat that works when pasted, with this key in it."""
    url, model = base_url(request), chat_model(guards.principal(request))
    return [
        Snippet("curl", "curl", _curl(url, model, key)),
        Snippet("python", "Python", _python(url, model, key)),
        Snippet("javascript", "JavaScript", _javascript(url, model, key)),
    ]


def _curl(url: str, model: str, key: str) -> str:
    message = {"role": "user", "content": "Say hello."}
    body = json.dumps({"model": model, "messages": [message], **CALM})
    quoted = body.replace("'", "'\\''")
    return (
        f"curl {url}/chat/completions \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        f'  -H "Content-Type: application/json" \\\n'
        f"  -d '{quoted}'"
    )


def _python(url: str, model: str, key: str) -> str:
    return (
        "# pip install openai\n"
        "from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={json.dumps(url)}, api_key={json.dumps(key)})\n"
        "stream = client.chat.completions.create(\n"
        f"    model={json.dumps(model)},\n"
        '    messages=[{"role": "user", "content": "Say hello."}],\n'
        f"    max_tokens={CALM['max_tokens']},\n"
        f"    temperature={CALM['temperature']},\n"
        "    stream=True,\n"
        ")\n"
        "for chunk in stream:\n"
        "    if chunk.choices:\n"
        '        print(chunk.choices[0].delta.content or "", end="", flush=True)\n'
        "print()"
    )


def _javascript(url: str, model: str, key: str) -> str:
    return (
        "// npm install openai; save as hello.mjs; node hello.mjs\n"
        'import OpenAI from "openai";\n\n'
        f"const client = new OpenAI({{ baseURL: {json.dumps(url)}, apiKey: {json.dumps(key)} }});\n"
        "const stream = await client.chat.completions.create({\n"
        f"  model: {json.dumps(model)},\n"
        '  messages: [{ role: "user", content: "Say hello." }],\n'
        f"  max_tokens: {CALM['max_tokens']},\n"
        f"  temperature: {CALM['temperature']},\n"
        "  stream: true,\n"
        "});\n"
        "for await (const chunk of stream) {\n"
        '  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\n'
        "}\n"
        "console.log();"
    )
