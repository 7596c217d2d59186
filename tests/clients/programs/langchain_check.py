"""Use LangChain's chat and embeddings against a hub; prints one JSON object of findings.

`python langchain_check.py BASE_URL KEY`
"""

import json
import sys

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def main() -> None:
    base_url, key = sys.argv[1:3]
    chat = ChatOpenAI(base_url=base_url, api_key=key, model="gpt-4o", temperature=0, max_tokens=24)
    messages = [
        SystemMessage("Answer in few words."),
        HumanMessage("Say hello."),
    ]
    # The length check needs a vocabulary that tiktoken downloads; without it texts are sent.
    vectors = OpenAIEmbeddings(
        base_url=base_url,
        api_key=key,
        model="text-embedding-3-small",
        check_embedding_ctx_length=False,
    )
    plain = chat.invoke(messages)
    findings = {
        "text": plain.content,
        "tokens": plain.usage_metadata["output_tokens"] if plain.usage_metadata else 0,
        "streamed": "".join(str(chunk.content) for chunk in chat.stream(messages)),
        "vectors": [len(v) for v in vectors.embed_documents(["one", "two"])],
        "query": len(vectors.embed_query("three")),
    }
    sys.stdout.write(json.dumps(findings))


if __name__ == "__main__":
    main()
