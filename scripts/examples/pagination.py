"""Reads all pages of a list: each answer names the next page, and the last one none."""

MOST_PAGES = 100


def run(message, context):
    url, found = context.config["api.url"] + "/customers", []
    for _ in range(MOST_PAGES):
        page = context.http.get(url, params={"size": 2}).raise_for_status().json()
        found += [customer["name"] for customer in page["items"]]
        if not page["next"]:
            break
        url = context.config["api.url"] + page["next"]
    else:
        raise Reject(f"the list has more than {MOST_PAGES} pages", code="too-long")
    message["payload"]["names"] = found
    return message
