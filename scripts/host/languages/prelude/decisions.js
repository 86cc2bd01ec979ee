// retry and reject: the first call counts, even if the script catches the error thrown here.
(function (shared) {
  "use strict";
  const { isFinite } = Number;
  const { getPrototypeOf, keys, prototype: plain } = Object;
  const { apply } = Reflect;
  const { includes, join } = Array.prototype;
  const { trim } = String.prototype;
  const { stringify } = JSON;
  const [text, number] = [String, Number];
  const [error, rangeError, typeError] = [Error, RangeError, TypeError];

  globalThis.retry = function retry(after, reason) {
    shared.stopIfDecided();
    if (typeof after === "object" && after !== null) {
      requireOptions(after, ["after", "reason"]);
      ({ after, reason = reason } = after);
    } else if (typeof after === "string" && reason === undefined && !(number(after) >= 0)) {
      [after, reason] = [undefined, after];
    }
    decide("retry", reason, after === undefined || after === null ? undefined : seconds(after));
  };

  globalThis.reject = function reject(reason) {
    shared.stopIfDecided();
    if (typeof reason === "object" && reason !== null && !(reason instanceof error)) {
      const names = keys(reason);
      if (names.length === 1 && names[0] === "reason") {
        ({ reason } = reason);
      }
    }
    decide("reject", reason);
  };

  // Otherwise a misspelt option would be ignored.
  function requireOptions(options, known) {
    const unknown = keys(options).find((key) => !apply(includes, known, [key]));
    if (unknown !== undefined) {
      throw new typeError(`retry() takes ${apply(join, known, [" and "])}, not ${unknown}`);
    }
    if (getPrototypeOf(options) !== plain && getPrototypeOf(options) !== null) {
      throw new typeError("retry(after) takes seconds from now");
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

  function decide(what, reason, after) {
    reason = reason === undefined || reason === null ? "" : textOf(reason);
    shared.decision = { what, reason, after };
    shared.hasNews = true;
    shared.decisionError = new error(`${what}(): ${reason}`);
    throw shared.decisionError;
  }

  function textOf(reason) {
    const isObject = typeof reason === "object" && !(reason instanceof error);
    return (isObject ? stringify(reason, shared.withShownNumbers) : undefined) ?? text(reason);
  }
})
