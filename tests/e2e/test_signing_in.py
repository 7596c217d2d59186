"""Signing in by browser: an app's code, a passkey of the browser's own, a provider, and another program."""

import base64
import hashlib
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import oidc_provider_mock
import pytest
from playwright.sync_api import Browser, Page, expect

from accounts import otp
from tests import servers
from tests.e2e.browsing import axe, overflow_px
from tests.e2e.conftest import Open, sign_in, tell
from tests.e2e.prepare import PASSWORD
from tests.servers import Hub

PEOPLE = {"ada": "admin", "dora": "developer", "tom": "developer", "pia": "developer"}
VERIFIER = "v" * 50


@pytest.fixture(scope="module")
def open_hub(browser: Browser) -> Iterator[Hub]:
    """A hub of its own: what is changed here concerns how everybody signs in."""
    with servers.hub([], AI_HUB_SIGN_ON_NETWORKS="127.0.0.0/8") as started:
        tell(started, people=PEOPLE)
        yield started


@pytest.fixture
def local(open_hub: Hub) -> str:
    """The address at which browsers know passkeys."""
    return f"http://localhost:{open_hub.port}"


def fits(page: Page) -> None:
    assert axe(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert overflow_px(page) <= 0
    page.set_viewport_size({"width": 1440, "height": 900})


def test_an_app_is_set_up_and_asked_for(local: str, opened: Open) -> None:
    page = opened(local)
    sign_in(page, "tom")
    page.goto("/account/")
    page.get_by_role("link", name="Set up").click()
    page.get_by_text("It cannot be scanned").click()
    secret = page.locator("code.long").inner_text().replace(" ", "")
    fits(page)
    now = otp.step_at(time.time())
    page.get_by_label("Write the six digits").fill(otp.code(secret, now))
    page.get_by_role("button", name="Take it into use").click()
    page.get_by_role("button", name="Make ten new codes").click()
    codes = page.locator("#recovery-list").inner_text().split()
    assert len(codes) == 10
    fits(page)

    other = opened(local, ["401 (Unauthorized)"])
    other.goto("/login/?next=/keys/")
    other.get_by_label("User name").fill("tom")
    other.get_by_label("Password").fill(PASSWORD)
    other.get_by_role("button", name="Sign in", exact=True).click()
    expect(other.get_by_role("heading", name="Second step")).to_be_visible()
    fits(other)
    other.get_by_label("Code").fill("000000")
    other.get_by_role("button", name="Continue").click()
    expect(other.get_by_role("alert").first).to_contain_text("not right")
    other.get_by_label("Code").fill(otp.code(secret, now + 1))
    other.get_by_role("button", name="Continue").click()
    other.wait_for_url("**/keys/")
    page.goto("/account/")
    expect(page.locator("#visits-table tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Sign out all others").click()
    expect(page.locator("#visits-table tbody tr")).to_have_count(1)
    other.goto("/keys/")
    other.wait_for_url("**/login/**")


def test_a_passkey_signs_in_without_a_password(local: str, opened: Open) -> None:
    page = opened(local)
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    sign_in(page, "pia")
    page.goto("/account/")
    page.get_by_label("Name of the new passkey").fill("laptop")
    page.get_by_role("button", name="Add a passkey").click()
    page.wait_for_url("**/account/recovery/")
    page.goto("/account/")
    expect(page.get_by_text("laptop")).to_be_visible()
    fits(page)
    page.get_by_label("Account: pia").click()
    page.get_by_role("button", name="Sign out", exact=True).last.click()
    page.wait_for_url("**/login/")
    page.goto("/login/?next=/keys/")
    fits(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/keys/")


def test_a_provider_signs_somebody_in(open_hub: Hub, opened: Open) -> None:
    with oidc_provider_mock.run_server_in_thread(require_nonce=True) as server:
        idp = f"http://127.0.0.1:{server.server_port}"
        claims = {"preferred_username": "grace", "groups": ["lab"]}
        httpx.put(f"{idp}/users/g-1", json=claims).raise_for_status()
        admin = opened(open_hub.url)
        sign_in(admin, "ada")
        admin.goto("/access/sign-in/")
        fits(admin)
        admin.get_by_role("link", name="Connect a provider").click()
        admin.get_by_label("Name", exact=True).fill("Lab")
        admin.get_by_label("Issuer").fill(idp)
        admin.get_by_label("Client id").fill("hub")
        admin.get_by_label("Client secret").fill("s3cret")
        admin.get_by_label("Groups and their roles").fill("lab = operator")
        admin.get_by_label("In use").check()
        fits(admin)
        admin.get_by_role("button", name="Check and save").click()
        admin.wait_for_url("**/access/sign-in/")
        expect(admin.get_by_role("cell", name=idp)).to_be_visible()
        fits(admin)

        # The provider's own page wants an icon and a style sheet from elsewhere.
        page = opened(open_hub.url, ["favicon.ico", "cdn.jsdelivr.net"])
        page.goto("/login/?next=/account/")
        page.get_by_role("link", name="Sign in with Lab").click()
        page.locator("input[name=sub]").fill("g-1")
        page.get_by_role("button", name="Authorize").click()
        page.wait_for_url("**/account/")
        expect(page.get_by_text("Signed in as grace, operator.")).to_be_visible()
        page.get_by_label("Account: grace").click()
        page.get_by_role("button", name="Sign out", exact=True).last.click()
        expect(page.get_by_role("link", name="Sign out of Lab too")).to_be_visible()
        fits(page)


def test_a_person_lets_a_program_in_and_takes_it_back(open_hub: Hub, opened: Open) -> None:
    page = opened(open_hub.url, ["net::ERR_", "Failed to load"])
    sign_in(page, "dora")
    page.goto("/apps/")
    fits(page)
    page.get_by_role("link", name="Register an application").click()
    back = f"http://localhost:{open_hub.port}/healthz"
    page.get_by_label("Name", exact=True).fill("Notes")
    page.get_by_label("Addresses it is led back to").fill(back)
    fits(page)
    page.get_by_role("button", name="Register it").click()
    secret = page.locator("#secret").input_value()
    client_id = page.locator("dd code").first.inner_text()
    fits(page)

    digest = hashlib.sha256(VERIFIER.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": back,
        "scope": "models:read",
        "state": "s",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    page.goto(f"/oauth/authorize/?{urlencode(query)}")
    expect(page.get_by_text("List models and see their state")).to_be_visible()
    fits(page)
    page.get_by_role("button", name="Let it in", exact=True).click()
    page.wait_for_url("**/healthz?**")
    code = parse_qs(urlsplit(page.url).query)["code"][0]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": back,
        "code_verifier": VERIFIER,
    }
    answer = httpx.post(f"{open_hub.url}/oauth/token/", data=form, auth=(client_id, secret))
    token = answer.json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{open_hub.url}/v1/models", headers=headers).status_code == 200
    assert httpx.get(f"{open_hub.url}/api/v1/me", headers=headers).json()["username"] == "dora"

    page.goto("/account/")
    fits(page)
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_text("has no access any more")).to_be_visible()
    until_s = time.monotonic() + 10
    while httpx.get(f"{open_hub.url}/v1/models", headers=headers).status_code != 401:
        assert time.monotonic() < until_s
