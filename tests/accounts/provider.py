"""An OpenID provider that can be told to lie, on a port of its own: what a hostile one would answer."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Provider:
    """Each field may be changed before the hub asks; `asked` keeps what it sent."""

    port: int
    nonce: str = ""
    claims: dict[str, Any] = field(default_factory=dict)  # over those of an honest token
    header: dict[str, Any] = field(default_factory=lambda: {"kid": "k1"})
    algorithm: str = "RS256"
    key: Any = KEY
    metadata: dict[str, Any] = field(default_factory=dict)
    token_answer: dict[str, Any] | None = None
    userinfo: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def description(self) -> dict[str, Any]:
        places = {name: f"{self.issuer}/{name}" for name in ("authorize", "token", "jwks")}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": places["authorize"],
            "token_endpoint": places["token"],
            "jwks_uri": places["jwks"],
        } | self.metadata

    def id_token(self) -> str:
        now = int(time.time())
        honest = {
            "iss": self.issuer,
            "aud": "hub",
            "sub": "s1",
            "nonce": self.nonce,
            "iat": now,
            "exp": now + 60,
            "preferred_username": "ann",
            "email": "ann@example.org",
        }
        body = {k: v for k, v in (honest | self.claims).items() if v is not None}
        return jwt.encode(body, self.key, algorithm=self.algorithm, headers=self.header)

    def tokens(self) -> dict[str, Any]:
        if self.token_answer is not None:
            return self.token_answer
        return {"access_token": "at", "token_type": "Bearer", "id_token": self.id_token()}

    def keys(self) -> dict[str, Any]:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
        return {"keys": [key | {"kid": "k1", "use": "sig", "alg": "RS256"}]}


@contextmanager
def serving() -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {  # type: ignore[no-untyped-call]
                "/.well-known/openid-configuration": provider.description,
                "/jwks": provider.keys,
                "/userinfo": lambda: provider.userinfo,
            }[self.path]()
            self.answer(found)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            given = {name: values[0] for name, values in parse_qs(body).items()}
            provider.asked.append(given | {"authorization": self.headers.get("Authorization", "")})
            self.answer(provider.tokens())

        def answer(self, found: dict[str, Any]) -> None:
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
