#!/usr/bin/env python3
"""A server with vLLM's paths and nothing behind them: started as if it were the Python that holds vLLM.

Its answer depends on the prompt alone, its sleep is a flag. What it was asked it writes to `~/asked`; a file
`~/wakes_badly`, `~/dies_waking` or `~/sleeps_badly` makes that go wrong.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOME = Path(os.environ["HOME"])
ARGUMENTS = sys.argv[1:]
CAN_SLEEP = os.environ.get("VLLM_SERVER_DEV_MODE") == "1" and "--enable-sleep-mode" in ARGUMENTS
WORD_TOKEN = 40


def option(name: str) -> str:
    return ARGUMENTS[ARGUMENTS.index(name) + 1]


class Server(ThreadingHTTPServer):
    sleeping, ill, lock = False, False, threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        with self.server.lock, (HOME / "asked").open("a") as file:
            file.write(f"{os.getpid()} {self.command} {self.path}\n")

    def do_GET(self) -> None:
        if self.path == "/v1/models" and self._has_key():
            self._answer({"data": [{"id": option("--served-model-name")}]})
        elif self.path == "/is_sleeping" and CAN_SLEEP:
            self._answer({"is_sleeping": self.server.sleeping})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/v1/completions" and self._has_key():
            self._complete(json.loads(body))
        elif self.path.endswith("_lora_adapter") and self._has_key():
            self._answer({})
        elif self.path == "/sleep?level=1" and CAN_SLEEP:
            self._move(sleeping=not (HOME / "sleeps_badly").exists())
        elif self.path == "/wake_up" and CAN_SLEEP:
            if (HOME / "dies_waking").exists():
                os._exit(9)
            self.server.ill = (HOME / "wakes_badly").exists()
            self._move(sleeping=False)
        else:
            self.send_error(404)

    def _has_key(self) -> bool:
        """Its key guards /v1 and nothing else."""
        return self.headers.get("Authorization") == f"Bearer {os.environ['VLLM_API_KEY']}"

    def _move(self, *, sleeping: bool) -> None:
        self.server.sleeping = sleeping
        self._answer({})

    def _complete(self, asked: dict[str, Any]) -> None:
        if self.server.sleeping:
            self.send_error(500, "it sleeps")
            return
        token = f"token_id:{WORD_TOKEN + (sum(asked['prompt']) + self.server.ill) % 20}"
        logprobs = {
            "tokens": [token],
            "token_logprobs": [-0.5],
            "top_logprobs": [{token: -0.5}],
        }
        self.send_response(200)
        self.end_headers()
        for _ in range(asked["max_tokens"]):
            found = {
                "index": 0,
                "text": "x",
                "logprobs": logprobs if asked.get("logprobs") else None,
            }
            self._event({"choices": [found | {"finish_reason": None}]})
        self._event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
        counts = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": asked["max_tokens"]}
        self._event({"choices": [], "usage": counts})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def _answer(self, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with Server(("127.0.0.1", int(option("--port"))), Handler) as server:
        server.serve_forever()
