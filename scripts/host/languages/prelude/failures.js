// Describes the value that a script has thrown.
(function (shared, thrown) {
  "use strict";
  // The characters are as in execution.py, those of causes fewer: the places are to have room.
  const MAX_CAUSES = 5, MAX_ERRORS = 5, MAX_LENGTH = 2000, MAX_CAUSE_LENGTH = 500, MAX_STACK = 3000;
  const { place, reason } = shared.refusals.find((each) => each.refusal === thrown) || {};
  if (place) {
    return { place, reason };
  }
  const { retryAfter } = shared.throttled.find((each) => each.refused === thrown) || {};
  try {
    return { ...described(), retryAfter, kind: kindOf(thrown) };
  } catch {
    return { message: "Thrown: a value that cannot be shown", stack: "" };
  }

  function described() {
    // There may not even be memory for its message.
    const isMemory = thrown instanceof InternalError &&
      (thrown.message === "out of memory" || thrown.message === "");
    // Without any memory left there is not even an error to throw.
    const mayBeMemory = isMemory ? "yes" : thrown === null ? "perhaps" : "";
    let stack = "", joint = "", cause = thrown;
    for (let i = 0; i < MAX_CAUSES && cause instanceof Error; i++) {
      const length = i ? MAX_CAUSE_LENGTH : MAX_LENGTH;
      stack += joint + headline(cause, length) + "\n" + shortened(String(cause.stack ?? ""), MAX_STACK);
      joint = "\nCaused by ";
      cause = cause.cause;
    }
    for (const error of errorsOf(thrown)) {
      stack += "\nOne of its errors: " + headline(error, MAX_CAUSE_LENGTH) + "\n" +
        shortened(String(error?.stack ?? ""), MAX_CAUSE_LENGTH);
    }
    return { message: headline(thrown), stack, mayBeMemory };
  }

  // Of a failed outside call or signature, of what the script may never do, and of a wrong call.
  function kindOf(value) {
    if (shared.notAllowed.includes(value)) {
      return "not-allowed";
    }
    if (shared.mistakes.includes(value)) {
      return "invalid";
    }
    const isCall = value instanceof Error &&
      (value.name === "HttpError" || value.name === "SignatureError");
    return isCall && typeof value.kind === "string" ? value.kind : undefined;
  }

  function headline(value, length = MAX_LENGTH) {
    return shortened(said(value), length);
  }

  function shortened(whole, length) {
    return whole.length > length ? whole.slice(0, length) + "…" : whole;
  }

  // Of an AggregateError, which Promise.any gives.
  function errorsOf(value) {
    const errors = value instanceof AggregateError ? value.errors : undefined;
    return Array.isArray(errors) ? errors.slice(0, MAX_ERRORS) : [];
  }

  function said(value) {
    const errors = errorsOf(value);
    if (errors.length > 0) {
      const told = errors.map((each) => shortened(said(each), MAX_CAUSE_LENGTH)).join("; ");
      return `${value.name}: ${value.message || "all of them failed"} (${told})`;
    }
    if (value instanceof Error) {
      return String(value.name) + (value.message ? ": " + String(value.message) : "");
    }
    return "Thrown: " + (typeof value === "object" && value !== null ?
      JSON.stringify(value, shared.withShownNumbers) ?? String(value) : String(value));
  }
})
