"""The formats of the original product: its flow array and its `rbac.config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.configuration.completion import completed_flow
from flows.configuration.entry import SECTIONS, Entry
from flows.configuration.faults import Faults, inside, quoted

_KEYS = {"name": "flowName", "steps": "queueMappings"}
_STEP_KEYS = {
    "name": "sourceQueueName",
    "queue": "sourceQueueName",
    "script": "endpointName",
    "threads": "maxThreads",
}


def is_original_flow(flow: Any) -> bool:
    return isinstance(flow, dict) and "queueMappings" in flow


def is_original_rbac(document: Any) -> bool:
    """Return whether the document is an `rbac.config`: `{"role": ["flow", …]}` and nothing else.

    With no flow at all it is not an `rbac.config` but rather a mistyped section with an empty list.
    """
    return (
        isinstance(document, dict)
        and bool(document)
        and not any(key in SECTIONS.values() for key in document)
        and all(_is_list_of_strings(value) for value in document.values())
        and any(document.values())
    )


def original_flow(
    flow: dict[str, Any], place: str, readers: Mapping[str, str], faults: Faults
) -> Entry | None:
    """Put the mappings in the order of their queues; if that is not possible, add to the faults.

    `readers` maps each queue that another flow of the document reads to that flow's name.
    """
    ordered = _in_order(flow, inside(place, "queueMappings"), readers, faults)
    if ordered is None:
        return None
    mappings = [flow["queueMappings"][index] for index in ordered]
    steps = [
        {
            "name": mapping["sourceQueueName"],
            "script": mapping["endpointName"],
            "queue": mapping["sourceQueueName"],
            "threads": mapping.get("maxThreads"),
        }
        for mapping in mappings
    ]
    values = completed_flow({"name": flow["flowName"], "steps": steps})
    entries = [
        Entry(inside(place, "queueMappings", index), step, _STEP_KEYS, makes_queue=True)
        for index, step in zip(ordered, values["steps"], strict=True)
    ]
    return Entry(place, values, _KEYS, entries)


def _in_order(
    flow: dict[str, Any], place: str, readers: Mapping[str, str], faults: Faults
) -> list[int] | None:
    mappings = flow["queueMappings"]
    sources = _sources(mappings, place, faults)
    initial = _initial(mappings, place, faults)
    if sources is None or initial is None:
        return None
    ordered = _walk(mappings, sources, initial, place, faults)
    if ordered is None:
        return None
    unreached = [index for index in range(len(mappings)) if index not in ordered]
    for index in unreached:
        queue = quoted(mappings[index]["sourceQueueName"])
        faults.add(inside(place, index), f"no way from the initial mapping leads to queue {queue}")
    target = mappings[ordered[-1]].get("targetQueueName")
    if target in readers:
        faults.add(
            inside(place, ordered[-1], "targetQueueName"),
            f"the queue {quoted(target)} belongs to the flow {quoted(readers[target])}: "
            "a flow cannot lead into another one",
        )
        return None
    return None if unreached else ordered


def _sources(mappings: list[dict[str, Any]], place: str, faults: Faults) -> dict[str, int] | None:
    """Return the index of the mapping that reads a queue, by queue."""
    sources: dict[str, int] = {}
    unique = True
    for index, mapping in enumerate(mappings):
        queue = mapping["sourceQueueName"]
        if queue in sources:
            faults.add(
                inside(place, index, "sourceQueueName"),
                f"queueMappings[{sources[queue]}] reads the queue {quoted(queue)} already",
            )
            unique = False
        sources.setdefault(queue, index)
    return sources if unique else None


def _initial(mappings: list[dict[str, Any]], place: str, faults: Faults) -> int | None:
    found = [index for index, mapping in enumerate(mappings) if mapping.get("initial")]
    if not found:
        faults.add(place, 'no mapping is the initial one ("initial": true)')
    for index in found[1:]:
        faults.add(
            inside(place, index, "initial"), f"queueMappings[{found[0]}] is the initial one already"
        )
    return found[0] if len(found) == 1 else None


def _walk(
    mappings: list[dict[str, Any]],
    sources: dict[str, int],
    initial: int,
    place: str,
    faults: Faults,
) -> list[int] | None:
    ordered = [initial]
    while (target := mappings[ordered[-1]].get("targetQueueName")) in sources:
        following = sources[target]
        if following in ordered:
            faults.add(
                inside(place, ordered[-1], "targetQueueName"),
                f"leads back to the queue {quoted(target)}: the flow would never end",
            )
            return None
        ordered.append(following)
    return ordered


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
