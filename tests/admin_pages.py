"""The table of all pages of the admin: the name of its address, and how to find an object for it.

The tests of `tests/browser` open each of them, and `python -m tests.page_times` measures it. A test
compares the table with the addresses that there are: a new page has to be added here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from flows.models import (
    AlertTarget,
    DeadLetter,
    Flow,
    FlowSchedule,
    FlowVersion,
    Queue,
    Reprocessing,
    Run,
    Step,
    WebhookDelivery,
)
from scripts.models import Script, ScriptVersion, TableVersion

Arguments = Callable[[], list[Any]]


class Kind(Enum):
    PAGE = "a whole page"
    PART = "a part of a page, asked for by htmx"
    FILE = "what is downloaded, or read by a script of a page"
    ACTION = "a POST, or an address that leads on"


@dataclass(frozen=True)
class Page:
    """One address. `name` is that of its pattern, without the namespace."""

    name: str
    kind: Kind = Kind.PAGE
    arguments: Arguments = list
    query: str = ""
    # What it answers a superuser.
    status: int = 200
    title: str = ""

    @property
    def label(self) -> str:
        return self.title or self.name

    def url(self) -> str:
        query = self.query
        for name, value in (("{user}", first_user), ("{queues}", listed_queues)):
            if name in query:
                query = query.replace(name, value())
        return reverse(f"admin:{self.name}", args=self.arguments()) + query


def newest(model: type[Model], **fields: Any) -> Arguments:
    """Return the key of the last object of the model: by its key, that of versions is random."""
    names = {field.name for field in model._meta.get_fields()}
    order = ["-number", "-created_at"] if "number" in names else ["-pk"]
    return lambda: [
        model._default_manager.filter(**fields).order_by(*order).values_list("pk")[0][0]
    ]


def main_flow() -> list[Any]:
    """Return the key of the flow with most to show: that of the newest run."""
    return [Run.objects.order_by("-pk").values_list("flow_version__flow_id")[0][0]]


def main_step() -> list[Any]:
    flow = main_flow()
    return [*flow, Step.objects.filter(flow_id=flow[0]).order_by("position")[0].pk]


def main_queue() -> list[Any]:
    return [Step.objects.get(pk=main_step()[1]).queue_id]


def main_script() -> list[Any]:
    return [Step.objects.get(pk=main_step()[1]).script_id]


def first_user() -> str:
    return str(user()[0])


def listed_queues() -> str:
    """Return the keys of the queues of the first page of their list."""
    keys = Queue.objects.order_by("name").values_list("pk", flat=True)
    return ",".join(map(str, keys[:50]))


def old_state(model: Any, found: Arguments) -> Arguments:
    """Return the keys of an object and of the oldest state in its history."""

    def arguments() -> list[Any]:
        key = found()[0]
        return [key, model.history.filter(id=key).order_by("history_id")[0].pk]

    return arguments


def newest_deletion() -> list[Any]:
    """Return the key of the newest record of a flow that was deleted."""
    history: Any = Flow.history
    return [history.filter(history_type="-").order_by("-pk")[0].pk]


# Objects that a page is shown of; of other models it is the newest.
OBJECTS: dict[type[Model], Arguments] = {
    Flow: main_flow,
    Queue: main_queue,
    Script: main_script,
    User: newest(User, is_superuser=False),
}
# Not even a superuser adds or deletes one.
READ_ONLY = {
    *(
        "flows_alert",
        "flows_auditentry",
        "flows_consumer",
        "flows_deadletter",
        "flows_flowversion",
    ),
    *(
        "flows_alert",
        "flows_reprocessing",
        "flows_run",
        "scripts_scriptversion",
        "scripts_trialrecord",
    ),
    *("scripts_tableversion", "flows_webhookdelivery"),
    *("django_q_failure", "django_q_ormq", "django_q_success"),
}
# No user adds one.
NOT_ADDED = {*READ_ONLY, "flows_flowstate"}


def standard_pages() -> list[Page]:
    """Return the pages that Django makes for each model."""
    pages = []
    for model in sorted(admin.site._registry, key=lambda model: model._meta.label):
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found = OBJECTS.get(model, newest(model))
        pages.append(Page(f"{name}_changelist"))
        for page in ("add", "change", "history", "delete"):
            is_refused = name in {"add": NOT_ADDED, "delete": READ_ONLY}.get(page, ())
            arguments = list if page == "add" else found
            status = 403 if is_refused else 200
            pages.append(Page(f"{name}_{page}", arguments=arguments, status=status))
        if hasattr(model, "history"):
            pages.append(Page(f"{name}_simple_history", arguments=old_state(model, found)))
    return pages


PART, FILE, ACTION = Kind.PART, Kind.FILE, Kind.ACTION
failed = newest(Run, status="FAILED")
waiting = newest(Run, status="QUEUED")
completed = newest(Run, status="COMPLETED")
letter = newest(DeadLetter)
role = newest(Group)
user = OBJECTS[User]


OTHER_PAGES = [
    Page("index"),
    Page("app_list", arguments=lambda: ["flows"]),
    Page("password_change"),
    Page("password_change_done"),
    Page("auth_user_password_change", arguments=user),
    Page("flows_deadletter_reprocess", arguments=letter),
    Page("flows_configuration_export"),
    Page("flows_configuration_import"),
    Page("flows_flow_add_step", arguments=main_flow),
    Page("flows_deadletter_discard_many", query="?ids=1,2,3"),
    Page("flows_flow_deleted"),
    Page("flows_flow_restore", arguments=newest_deletion),
    Page("flows_flow_remove_step", arguments=main_step),
    Page("flows_flow_start", arguments=main_flow),
    Page("flows_flow_webhooks", arguments=main_flow),
    Page("flows_flow_step", arguments=main_step),
    Page("flows_reprocessing_begin"),
    Page("flows_rolemapping_matrix"),
    Page("flows_rolemapping_mine"),
    Page("flows_rolemapping_of_user", arguments=user),
    Page("flows_rolemapping_profile", arguments=list, query="?user={user}"),
    Page("flows_run_again", arguments=failed),
    Page("flows_run_conservation"),
    Page("own_tokens"),
    Page("flows_run_from_step", arguments=lambda: [*failed(), 0]),
    # The page of a run in another state.
    Page("flows_run_change", arguments=failed, title="flows_run_change_failed"),
    # Lists as operators confine them.
    Page("flows_run_changelist", query="?status=FAILED", title="flows_run_changelist_failed"),
    *(
        Page(f"{name}_changelist", query="?q=refused", title=f"{name}_changelist_search")
        for name in ("flows_run", "flows_deadletter", "flows_auditentry")
    ),
    # Live parts, and the dialogs of buttons.
    Page("search", PART, query="?s=orders"),
    Page("flows_home", PART),
    Page("flows_flow_live_steps", PART, main_flow),
    Page("flows_run_live", PART, failed),
    Page("flows_reprocessing_live", PART, newest(Reprocessing)),
    Page("flows_find", PART, query="?q=orders"),
    Page("flows_reprocessing_go_on", PART, newest(Reprocessing)),
    Page("auth_user_see_as", PART, user),
    Page("flows_deadletter_discard", PART, letter),
    *(Page(f"flows_flow_{each}", PART, main_flow) for each in ("pause", "resume")),
    *(Page(f"flows_queue_{each}", PART, main_queue) for each in ("pause", "resume")),
    Page("flows_flowschedule_pause", PART, newest(FlowSchedule)),
    Page("flows_flowschedule_resume", PART, newest(FlowSchedule)),
    *(Page(f"flows_queue_{each}", PART, main_queue) for each in ("live", "let_one_through")),
    Page("flows_flowversion_restore", PART, newest(FlowVersion)),
    Page("flows_flowversion_restore_with", arguments=newest(FlowVersion)),
    Page("flows_queue_tune", arguments=main_queue),
    Page("flows_queue_live_list", PART, query="?ids={queues}"),
    Page("flows_reprocessing_stop", PART, newest(Reprocessing)),
    Page("flows_alerttarget_send_test", PART, newest(AlertTarget)),
    Page("flows_webhookdelivery_send_again", PART, newest(WebhookDelivery)),
    *(Page(f"flows_run_{each}", PART, waiting) for each in ("bypass_pause", "cancel")),
    *(Page(f"flows_run_{each}", PART, failed) for each in ("start_again", "erase")),
    Page("scripts_scriptversion_restore", PART, newest(ScriptVersion)),
    Page("scripts_tableversion_restore", PART, newest(TableVersion)),
    *(Page(f"audit_{each}", FILE) for each in ("csv", "json")),
    Page("autocomplete", FILE, query="?app_label=flows&model_name=step&field_name=queue"),
    Page("flows_deadletter_body", FILE, letter),
    Page("flows_run_body", FILE),
    Page("flows_run_result", FILE, completed),
    Page("jsi18n", FILE),
    Page("scripts_script_samples", FILE, main_script),
    Page("scripts_tableversion_file", FILE, newest(TableVersion)),
    Page("auth_group_give_profile", ACTION, role),
    Page("auth_group_matrix", ACTION),
    Page("auth_user_give_profile", ACTION, user),
    Page("flows_deadletter_reprocess_many", ACTION),
    Page("flows_deadletter_requeue", ACTION),
    Page("flows_flow_deleted_flows", ACTION),
    Page("flows_flow_move_step", ACTION, main_flow),
    Page("flows_flow_runs", ACTION, main_flow),
    Page("flows_flow_states", ACTION, main_flow),
    Page("flows_flow_save_step", ACTION),
    Page("flows_rolemapping_own_view", ACTION),
    # It leads to a page for the user's own token alone.
    Page("own_tokens_revoke", ACTION),
    Page("own_tokens_made", ACTION),
    *(Page(f"scripts_script_{each}", ACTION) for each in ("trial", "trial_new")),
    *(Page(each, ACTION) for each in ("login", "logout", "view_on_site")),
]

ADDRESSES = [*OTHER_PAGES, *standard_pages()]
PAGES = [each for each in ADDRESSES if each.kind is Kind.PAGE]
PARTS = [each for each in ADDRESSES if each.kind is Kind.PART]


def addresses() -> dict[str, str]:
    """Return the name of each address of the admin with its pattern."""
    return dict(_named(get_resolver("asyncengine.urls"), False))


def _named(resolver: URLResolver, within: bool, prefix: str = "") -> Any:
    for each in resolver.url_patterns:
        if isinstance(each, URLPattern):
            if within and each.name:
                yield each.name, prefix + str(each.pattern)
        else:
            yield from _named(each, within or each.namespace == "admin", prefix + str(each.pattern))
