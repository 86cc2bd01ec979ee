// retry and reject: the first call counts, even if the script catches the error thrown here.
(function (shared) {
  "use strict";
  const { isFinite } = Number;
  const { getPrototypeOf, keys, prototype: plain } = Object;
  const { apply } = Reflect;
  const { includes, join } = Array.prototype;
  const { trim } = String.prototype;
  const { stringify } = JSON;
  const OF_REJECT = ["reason", "code", "details"];
  const [text, number] = [String, Number];
  const [error, rangeError, typeError] = [Error, RangeError, TypeError];

  globalThis.retry = function retry(after, reason) {
    shared.stopIfDecided();
    if (typeof after === "object" && after !== null) {
      requireOptions("retry", after, ["after", "reason"]);
      ({ after, reason = reason } = after);
    } else if (typeof after === "string" && reason === undefined && !(number(after) >= 0)) {
      [after, reason] = [undefined, after];
    }
    const wait = after === undefined || after === null ? undefined : seconds(after);
    decide("retry", reason, { after: wait });
  };

  // reject(reason, {code, details}), also as one object {reason, code, details}.
  globalThis.reject = function reject(reason, options) {
    shared.stopIfDecided();
    if (options === undefined && isPlain(reason)) {
      const names = keys(reason);
      if (names.length > 0 && names.every((name) => apply(includes, OF_REJECT, [name]))) {
        [reason, options] = [reason.reason, { code: reason.code, details: reason.details }];
      }
    }
    if (options !== undefined && options !== null) {
      requireOptions("reject", options, ["code", "details"]);
    }
    const { code, details } = options ?? {};
    decide("reject", reason, {
      code: code === undefined || code === null ? undefined : text(code),
      details: details === undefined || details === null ? undefined : detailsOf(details),
    });
  };

  // JSON text. What JSON cannot hold is its text: the message is rejected in any case.
  function detailsOf(details) {
    try {
      return shared.copied(details, "details");
    } catch {
      return stringify(textOf(details));
    }
  }

  function isPlain(value) {
    return typeof value === "object" && value !== null && getPrototypeOf(value) === plain;
  }

  // Otherwise a misspelt option would be ignored.
  function requireOptions(name, options, known) {
    const unknown = keys(options).find((key) => !apply(includes, known, [key]));
    if (unknown !== undefined) {
      throw new typeError(`${name}() takes ${apply(join, known, [" and "])}, not ${unknown}`);
    }
    if (getPrototypeOf(options) !== plain && getPrototypeOf(options) !== null) {
      throw new typeError(
        name === "retry" ? "retry(after) takes seconds from now" : "reject() takes an object");
    }
  }

  // A text with a number counts as one: settings and headers often come as texts.
  function seconds(after) {
    const isNumber = typeof after === "number" || typeof after === "bigint" ||
      typeof after === "string" && apply(trim, after, []) !== "";
    const given = isNumber ? number(after) : NaN;
    if (!isFinite(given) || given < 0) {
      throw new rangeError("retry(after) takes seconds from now, not less than 0");
    }
    return given;
  }

  function decide(what, reason, more) {
    reason = reason === undefined || reason === null ? "" : textOf(reason);
    shared.decision = { what, reason, ...more };
    shared.hasNews = true;
    shared.decisionError = new error(`${what}(): ${reason}`);
    throw shared.decisionError;
  }

  function textOf(reason) {
    const isObject = typeof reason === "object" && !(reason instanceof error);
    return (isObject ? stringify(reason, shared.withShownNumbers) : undefined) ?? text(reason);
  }
})
