"""A customer success manager's way in a real browser: from the list to what to do next."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from real_server import running
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.browser

WIDE, NARROW = (1280, 1000), (390, 844)


@pytest.fixture(scope="module")
def address(served_app) -> Iterator[str]:
    with running(served_app) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(
        executable_path=shutil.which("chromedriver") or "/usr/bin/chromedriver"
    )
    driver = webdriver.Chrome(options=options, service=service)
    driver.implicitly_wait(5)
    yield driver
    driver.quit()


@pytest.fixture(params=[WIDE, NARROW], ids=["service", "phone"])
def portfolio(request, browser, address) -> WebDriver:
    browser.set_window_size(*request.param)
    browser.get(f"{address}/")
    return browser


def leave_by(browser: WebDriver, act: Callable[[], object]) -> None:
    """Do what leads to another page, and wait until that page is whole.

    Without the wait, what is found next may still belong to the page that is being left.
    """
    left = browser.find_element(By.TAG_NAME, "html")
    act()
    # between a form and the page it leads to, the driver may find no page to ask
    wait = WebDriverWait(browser, 30, ignored_exceptions=[WebDriverException])
    wait.until(expected.staleness_of(left))
    wait.until(lambda now: now.execute_script("return document.readyState") == "complete")


def follow(browser: WebDriver, link: str) -> None:
    leave_by(browser, browser.find_element(By.PARTIAL_LINK_TEXT, link).click)


def text_of(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "main").text


def test_from_the_list_to_the_reasons_and_the_next_actions(portfolio):
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "Accounts by revenue at risk"
    follow(portfolio, "Company 00")
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "Company 00"
    text = text_of(portfolio)
    assert "Why this score" in text
    assert "40 errors in the last 28 days" in text
    assert "2 is usual in this segment and plan" in text
    assert "Next actions" in text
    assert "Do nothing" in text
    bars = portfolio.find_elements(By.CSS_SELECTOR, ".reason-bar .bar-more")
    assert max(bar.size["width"] for bar in bars) > 20


def test_what_an_action_is_worth_and_what_was_held_back_open_on_demand(portfolio):
    follow(portfolio, "Company 00")
    [*details] = portfolio.find_elements(By.CSS_SELECTOR, ".actions summary")
    before = text_of(portfolio)
    details[0].click()
    opened = text_of(portfolio)
    assert "not measured yet" in opened
    assert "not measured yet" not in before
    portfolio.find_element(By.CSS_SELECTOR, ".withheld summary").click()
    assert len(text_of(portfolio)) > len(opened)


def test_a_filter_narrows_the_list_and_can_be_cleared(portfolio):
    Select(portfolio.find_element(By.NAME, "tier")).select_by_visible_text("critical")
    leave_by(portfolio, portfolio.find_element(By.CSS_SELECTOR, ".filters button").click)
    badges = {e.text for e in portfolio.find_elements(By.CSS_SELECTOR, ".accounts .badge")}
    assert badges == {"critical"}
    follow(portfolio, "Clear filters")
    assert "47 accounts" in text_of(portfolio)


def test_from_an_account_to_its_parent_and_back(portfolio, address):
    portfolio.get(f"{address}/accounts/acct-02")
    follow(portfolio, "Company 04")
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "Company 04"
    text = text_of(portfolio)
    assert "What Company 04 and the accounts below it come to" in text
    assert "Of 5 accounts with features, 3 of them directly below" in text
    assert "1,250 USD" in text
    healths = [
        float(e.text.split()[0])
        for e in portfolio.find_elements(By.CSS_SELECTOR, ".family tbody .health")
    ]
    assert len(healths) == 3
    assert healths == sorted(healths)
    follow(portfolio, "Show all 5 accounts")
    assert "5 accounts" in portfolio.find_element(By.CLASS_NAME, "shown").text
    follow(portfolio, "Company 02")
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "Company 02"


def test_a_parent_that_sends_nothing_has_the_list_of_its_accounts(portfolio, address):
    portfolio.get(f"{address}/accounts/acct-06")
    follow(portfolio, "Account holding")
    chosen = Select(portfolio.find_element(By.NAME, "parent")).first_selected_option
    assert chosen.text == "Account holding"
    assert "What Account holding and the accounts below it come to" in text_of(portfolio)


def test_what_else_may_come_stands_on_the_page_with_its_time_and_source(portfolio):
    follow(portfolio, "Company 00")
    lines = portfolio.find_elements(By.CSS_SELECTOR, ".outlooks > div")
    assert [line.find_element(By.TAG_NAME, "dt").text.splitlines()[0] for line in lines] == [
        "Leaves at its renewal",
        "Leaves within 180 days",
        "Leaves within 365 days",
        "Grows by its renewal",
        "Grows within 180 days",
        "Grows within 365 days",
        "Pays at least a tenth less",
        "Falls silent for 30 days",
    ]
    assert "No model for this is in use yet." in lines[6].text
    assert all(line.find_element(By.CLASS_NAME, "value").is_displayed() for line in lines)


def test_what_one_person_agrees_to_another_approves_with_one_click(portfolio, address):
    account = "acct-01" if portfolio.get_window_size()["width"] > 1000 else "acct-02"
    portfolio.get(f"{address}/accounts/{account}")
    leave_by(portfolio, portfolio.find_element(By.CSS_SELECTOR, ".say [value=agree]").click)
    assert "somebody without a key agreed to" in text_of(portfolio)
    assert "Needs approval:" in text_of(portfolio)
    follow(portfolio, "Approvals")
    [form] = portfolio.find_elements(By.CSS_SELECTOR, "form.say")
    form.find_element(By.NAME, "by").send_keys("bob")
    leave_by(portfolio, form.find_element(By.CSS_SELECTOR, "[value=approved]").click)
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "Needs approval, and what is stopped"
    assert "Nothing needs approval now." in text_of(portfolio)


def test_what_is_put_off_moves_to_what_is_held_back_with_its_reason(portfolio, address):
    account = "acct-03" if portfolio.get_window_size()["width"] > 1000 else "acct-05"
    portfolio.get(f"{address}/accounts/{account}")
    name = portfolio.find_element(By.CSS_SELECTOR, ".actions h3").text
    portfolio.find_element(By.CSS_SELECTOR, ".say [name=reason]").send_keys("On leave")
    leave_by(portfolio, portfolio.find_element(By.CSS_SELECTOR, ".say [value=snooze]").click)
    assert portfolio.find_element(By.CSS_SELECTOR, ".actions h3").text != name
    portfolio.find_element(By.CSS_SELECTOR, ".withheld summary").click()
    held = portfolio.find_element(By.CLASS_NAME, "withheld").text
    assert "somebody without a key put this off" in held
    assert "“On leave”" in held
    assert "Possible from" in held


def test_from_the_models_to_a_card_and_its_picture(portfolio):
    follow(portfolio, "Models")
    follow(portfolio, "Model card")
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "churn: by hand, version 1"
    picture = portfolio.find_element(By.CSS_SELECTOR, ".card-text img")
    portfolio.execute_script("arguments[0].scrollIntoView()", picture)
    WebDriverWait(portfolio, 10).until(
        lambda now: now.execute_script("return arguments[0].naturalWidth", picture) > 0
    )
    cells = portfolio.find_elements(By.CSS_SELECTOR, ".card-text td")
    assert all(cell.size["height"] < 60 for cell in cells)  # numbers are not broken into letters
    follow(portfolio, "All models")
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "Models"


def test_nothing_is_wider_than_the_window(portfolio):
    for link in (None, "Company 04", "Company 00", "Approvals", "Models", "Model card"):
        if link:
            if link.startswith("Company"):
                portfolio.get(portfolio.current_url.partition("/accounts")[0])
            follow(portfolio, link)
        wide = portfolio.execute_script(
            "return document.documentElement.scrollWidth - window.innerWidth"
        )
        assert wide <= 0


def test_the_keyboard_is_enough(portfolio):
    body = portfolio.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert portfolio.switch_to.active_element.text == "Skip to content"
    account = portfolio.find_element(By.PARTIAL_LINK_TEXT, "Company 00")
    leave_by(portfolio, lambda: account.send_keys(Keys.ENTER))
    assert portfolio.find_element(By.TAG_NAME, "h1").text == "Company 00"


def test_no_page_asks_another_host_or_breaks_its_own_policy(browser, address):
    browser.get_log("browser")
    browser.get_log("performance")
    for path in (
        "/",
        "/accounts/acct-00",
        "/models",
        "/models/churn/1",
        "/reports",
        "/reports/call",
        "/help",
        "/help/reference/features",
        "/accounts/nobody",
        "/docs",
        "/approvals",
        "/problems",
    ):
        browser.get(address + path)
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [one for one in messages if "/accounts/nobody" not in one] == []
    assert [one for one in messages if "404" not in one] == []
    asked = [
        entry["message"]
        for entry in browser.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert asked
    assert [message for message in asked if f'"url":"{address}' not in message] == []


def test_a_report_keeps_its_own_style_and_one_that_was_slipped_in_does_nothing(
    browser, address, served_app
):
    browser.get(f"{address}/reports/call")
    main = browser.find_element(By.TAG_NAME, "main")
    assert main.value_of_css_property("max-width") == "1080px"
    [page] = served_app.state.service.workspace.reports_dir.glob("call.html")
    written = page.read_text(encoding="utf-8")
    slipped_in = "<style>h1 {display: none}</style><script>document.title = 'taken'</script>"
    page.write_text(written.replace("<h1", f"{slipped_in}<h1"), encoding="utf-8")
    browser.get_log("browser")
    browser.get(f"{address}/reports/call")
    page.write_text(written, encoding="utf-8")
    assert browser.find_element(By.TAG_NAME, "h1").is_displayed()
    assert browser.title != "taken"
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert len(refused) == 2
    assert all("Content Security Policy" in one for one in refused)


def test_a_wrong_address_helps_on(browser, address):
    browser.get(f"{address}/accounts/nobody")
    assert "Unknown account" in text_of(browser)
    follow(browser, "All accounts")
    assert browser.find_element(By.TAG_NAME, "h1").text == "Accounts by revenue at risk"
