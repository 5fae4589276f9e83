"""The page at `/docs`, as a person uses it: in a headless Chromium, through the stack's own URL."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.e2e.client import PASSWORD, Tenant
from tests.e2e.conftest import Stack
from tests.e2e.document import openapi

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")


class Page:
    """The page in a browser."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser, self.url = browser, url
        self.load()

    def load(self) -> None:
        self.browser.get(self.url)
        self.find(".opblock-tag-section")

    def find(self, css: str, within: WebElement | None = None, seconds: float = 30) -> WebElement:
        """The first element, once it is shown."""

        def shown(_: Chrome) -> WebElement | None:
            found = (within or self.browser).find_elements(By.CSS_SELECTOR, css)
            return next((element for element in found if element.is_displayed()), None)

        wait = WebDriverWait(self.browser, seconds, poll_frequency=0.05)
        element: WebElement = wait.until(shown, css)  # type: ignore[assignment]
        return element

    def click(self, css: str, within: WebElement | None = None) -> None:
        element = self.find(css, within)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def sign_in(self, email: str, password: str) -> str:
        """Fill in the form; what the page says then."""
        form = self.find("#sign-in")
        for name, value in (("email", email), ("password", password)):
            field = self.find(f"[name={name}]", form)
            field.clear()
            field.send_keys(value)
        before = self.find("#state").text
        self.click("button", form)
        WebDriverWait(self.browser, 30, 0.05).until(lambda _: self.find("#state").text != before)
        return self.find("#state").text

    def call(
        self, tag: str, operation: str, parameters: dict[str, str], body: Any = None
    ) -> tuple[int, Any]:
        """Open an operation, fill it in, execute it: status and body that the page shows."""
        name = f"operations-{tag}-{operation}"
        if not self.browser.find_elements(By.ID, name):
            self.click(f"#operations-tag-{tag}")
        block = self.find(f"#{name}")
        self.click(".opblock-summary-control", block)
        for parameter, value in parameters.items():
            self.find(f"tr[data-param-name={parameter}] input", block).send_keys(value)
        if body is not None:
            text = self.find("textarea.body-param__text", block)
            text.send_keys(Keys.CONTROL + "a")
            text.send_keys(json.dumps(body))
        self.click("button.execute", block)
        answer = self.find(".live-responses-table .response", block)
        status = int(self.find(".response-col_status", answer).text.split()[0])
        return status, json.loads(self.find(".highlight-code code", answer).text)

    def faults(self) -> list[str]:
        """What the browser refused or failed at, such as by the page's policy."""
        entries = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in entries if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    if BROWSER is None or DRIVER is None:
        pytest.fail("chromium and chromedriver are needed: apt-get install chromium-driver")
    options = ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,1600")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser: Chrome, stack: Stack) -> Page:
    """The page, loaded anew."""
    return Page(browser, f"{stack.outputs['api_url']}/docs")


def test_a_person_can_sign_in_and_call_the_api_on_the_page(page: Page, tenant: Tenant) -> None:
    assert page.sign_in(tenant.email, PASSWORD) == f"Signed in as {tenant.email}"
    status, answer = page.call("users", "users_read", {})
    assert (status, answer["email"]) == (200, tenant.email)

    ids = {"workspace_id": tenant.workspace_id}
    status, answer = page.call("chatbots", "chatbots_create", ids, {"name": "Made on the page"})
    assert (status, answer["name"]) == (201, "Made on the page")
    made = tenant.rest.ok("GET", f"{tenant.path}/chatbots/{answer['id']}")
    assert made["name"] == "Made on the page"


def test_example_of_the_page_is_accepted_as_it_stands(page: Page, tenant: Tenant) -> None:
    page.sign_in(tenant.email, PASSWORD)
    ids = {"workspace_id": tenant.workspace_id}
    status, answer = page.call("chatbots", "chatbots_create", ids)
    assert (status, answer["name"]) == (201, "Support")


def test_nobody_is_signed_in_when_the_password_is_wrong(page: Page, tenant: Tenant) -> None:
    said = page.sign_in(tenant.email, "another password")
    assert said == "the address or the password is wrong"
    status, answer = page.call("users", "users_read", {})
    assert (status, answer["title"]) == (401, "Unauthorized")
    assert page.find("[name=email]").get_attribute("value") == tenant.email


def test_page_asks_no_other_host_and_breaks_no_policy(page: Page, tenant: Tenant) -> None:
    page.faults()  # those of the pages before
    page.load()
    page.sign_in(tenant.email, PASSWORD)
    page.call("users", "users_read", {})
    assert page.faults() == []
    loaded: list[str] = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert len(loaded) >= 6
    own = page.url.removesuffix("docs")
    assert [url for url in loaded if not url.startswith((own, "data:"))] == []


def test_page_shows_every_operation(page: Page, stack: Stack) -> None:
    for tag in page.browser.find_elements(By.CSS_SELECTOR, ".opblock-tag"):
        page.browser.execute_script("arguments[0].click()", tag)
    shown = page.browser.find_elements(By.CSS_SELECTOR, ".opblock")
    paths = openapi(stack.outputs["api_url"])["paths"]
    assert len(shown) == sum(len(item) for item in paths.values())
