"""A Django project with its own users, apps, tasks and settings, as tests/project has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.installation import PASSWORD, ROOT, Installation
from tests.databases import fresh_database, is_postgresql, migrated_file
from tests.waiting import PATIENCE, wait_for

# An installation of its own, with a project around it.
pytestmark = pytest.mark.long

PROJECT = ROOT / "tests" / "project"
BOSS = "admin@localhost"


class Shop(Installation):
    project = PROJECT
    administrator = BOSS

    def __init__(self, database_url: str, directory: Path) -> None:
        super().__init__(database_url, directory)
        self.environment |= surroundings(database_url)

    def browser(self) -> Browser:
        return Browser(f"http://127.0.0.1:{self.port}")


class Browser:
    """Keeps cookies, and sends the token of the last form back."""

    def __init__(self, base: str) -> None:
        self.http = httpx.Client(base_url=base, timeout=PATIENCE)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def post(self, path: str, **content: Any) -> httpx.Response:
        headers = {"X-CSRFToken": self.http.cookies.get("csrftoken", "")}
        return self.http.post(path, headers=headers, **content)

    def log_in(self, name: str = BOSS) -> httpx.Response:
        self.get("/admin/login/")
        return self.post(
            "/admin/login/", data={"username": name, "password": PASSWORD, "next": "/admin/"}
        )


def surroundings(database_url: str) -> dict[str, str]:
    """Return the environment in which the project finds the engine, which it has not installed."""
    return {
        "DATABASE_URL": database_url,
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "shop.settings",
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("shop")
    with fresh_database(directory) as url:
        if not is_postgresql():
            shutil.copy(migrated_file(PROJECT), url.removeprefix("sqlite:///"))
        shop = Shop(url, directory)
        try:
            shop.up("--no-demo")
            shop.manage("config", "import", str(PROJECT / "order.json"))
            yield shop
        finally:
            shop.http.close()
            if shop.process is not None:
                shop.stop()


@pytest.fixture
def boss(shop: Shop) -> Iterator[Browser]:
    browser = shop.browser()
    assert browser.log_in().status_code == 302
    yield browser
    browser.http.close()


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ({}, []),
        # Pages of its own for its users in an app before the engine's, or after them.
        ({"SHOP_BACKOFFICE": "first"}, ["suite/test_admin.py"]),
        ({"SHOP_BACKOFFICE": "last"}, ["suite/test_admin.py"]),
        ({"SHOP_BACKOFFICE": "site"}, ["suite/test_admin.py"]),
        ({"SHOP_KEYS": "text"}, ["-n", "2"]),
    ],
    ids=str,
)
def test_its_own_suite_passes(tmp_path: Path, variant: dict[str, str], options: list[str]) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")
    }
    with fresh_database(tmp_path) as url:
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            cwd=PROJECT,
            env=environment | surroundings(url) | variant | migrated(variant),
            capture_output=True,
            text=True,
        )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert " passed" in finished.stdout


def migrated(variant: dict[str, str]) -> dict[str, str]:
    """Return what tells the suite of tables that it need not migrate: they depend on the keys."""
    if is_postgresql():
        return {}
    keys = {name: text for name, text in variant.items() if name == "SHOP_KEYS"}
    return {"SHOP_MIGRATED": str(migrated_file(PROJECT, **keys))}


def test_an_order_goes_from_the_view_through_workers_to_its_task(shop: Shop, boss: Browser):
    answer = boss.post("/shop/orders/", json={"amount": "100.00"})
    assert answer.status_code == 201, answer.text
    order, run = answer.json()["order"], answer.json()["run"]

    finished = shop.run(run, wait=30)

    assert finished["status"] == "COMPLETED", finished
    assert finished["result"]["payload"]["customer"] == BOSS
    invoice = boss.get(f"/shop/invoices/{order}/").json()
    assert invoice == {"number": f"R{order:06}", "total": "119.00"}
    wait_for(lambda: mailed(shop, order), 30, "the task of the invoice")
    assert boss.get(f"/shop/orders/{run}/").json()["status"] == "COMPLETED"


def test_a_step_that_fails_leaves_neither_its_rows_nor_its_task(shop: Shop, boss: Browser):
    answer = boss.post("/shop/orders/", json={"amount": "5.00", "more": {"fails": True}}).json()

    finished = shop.run(answer["run"], wait=30)

    assert finished["status"] == "FAILED"
    assert "the month is closed" in finished["error"]
    assert boss.get(f"/shop/invoices/{answer['order']}/").status_code == 404
    assert shop.rows("SELECT COUNT(*) FROM orders_order WHERE amount = 5") == [(1,)]


def test_a_view_that_fails_after_its_start_leaves_nothing_to_the_workers(shop: Shop, boss: Browser):
    before = shop.rows("SELECT COUNT(*) FROM flows_run")

    broken = [
        boss.post("/shop/orders/", json={"amount": "7.00", "breaks": True, "key": "again"})
        for _ in range(3)
    ]
    whole = boss.post("/shop/orders/", json={"amount": "8.00", "key": "again"})

    assert [answer.status_code for answer in broken] == [500] * 3
    assert shop.run(whole.json()["run"], wait=30)["status"] == "COMPLETED"
    assert shop.rows("SELECT COUNT(*) FROM orders_order WHERE amount = 7") == [(0,)]
    [(count,)], [(was,)] = shop.rows("SELECT COUNT(*) FROM flows_run"), before
    assert count == was + 1
    shop.manage("check_conservation")


def test_a_run_is_started_in_the_admin(shop: Shop, boss: Browser):
    [(flow,)] = shop.rows("SELECT id FROM flows_flow WHERE name = 'order'")
    page = f"/admin/flows/flow/{flow}/start/"
    assert boss.get(page).status_code == 200
    order = boss.post("/shop/orders/", json={"amount": "3.00"}).json()

    answer = boss.post(page, data={"payload": f'{{"order": {order["order"]}, "amount": 3}}'})

    assert answer.status_code == 302, answer.text
    run = re.fullmatch(r"/admin/flows/run/([0-9a-f-]+)/change/", answer.headers["Location"])
    assert run is not None
    assert shop.run(run[1], wait=30)["status"] == "COMPLETED"
    page_of_run = boss.get(answer.headers["Location"])
    assert page_of_run.status_code == 200
    assert "admin" in page_of_run.text


def test_a_token_starts_and_watches_runs(shop: Shop):
    made = shop.http.post(
        "/api/auth/token", json={"userName": "ADMIN@localhost", "password": PASSWORD}, auth=None
    )
    bearer = httpx.Client(
        base_url=str(shop.http.base_url),
        headers={"Authorization": f"Bearer {made.json()['accessToken']}"},
        timeout=PATIENCE,
    )

    with bearer:
        started = bearer.post("/api/start?flowName=order", json={"order": 0, "unpriced": True})
        assert started.status_code == 202, started.text
        shop.run(started.json()["correlationId"], wait=30)
        run = bearer.get(f"/api/runs/{started.json()['correlationId']}").json()

    assert run["status"] == "FAILED"
    assert "no price" in run["error"]


def test_the_books_of_the_project_balance_in_the_end(shop: Shop):
    wait_for(lambda: shop.rows("SELECT COUNT(*) FROM flows_message") == [(0,)], 30, "rest")

    assert shop.manage("check_conservation").returncode == 0
    checked = shop.manage("check", "--fail-level", "WARNING", "--database", "default")
    assert "no issues" in checked.stdout


def mailed(shop: Shop, order: int) -> bool:
    sql = f"SELECT mailed_at FROM orders_invoice WHERE order_id = {order}"
    return shop.rows(sql)[0][0] is not None
