"""Asks for the state of a job until it is done. A wait uses up no delivery and holds no worker."""


def run(message, context):
    job = message["payload"]["job"]
    answer = context.http.get(f"{context.config['api.url']}/jobs/{job}").raise_for_status().json()
    if answer["state"] == "running":
        raise Wait(after=30, reason=f"job {job} is running")
    if answer["state"] != "done":
        raise Reject(f"job {job} is {answer['state']}", code="job-failed")
    message["payload"]["file"] = answer["file"]
    return message
