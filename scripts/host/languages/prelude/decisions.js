// retry, wait and reject: the first call counts, even if the script catches the error thrown here.
(function (shared) {
  "use strict";
  // As in wait_state.py.
  const MAX_STATE = 64 * 1024;
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
    const later = laterOf("retry", after, reason, ["after", "reason"]);
    decide("retry", later.reason, { after: later.after });
  };

  // Waiting is no failure. The state is what the next attempt finds in context.waitState.
  globalThis.wait = function wait(after, reason) {
    shared.stopIfDecided();
    const later = laterOf("wait", after, reason, ["after", "reason", "state"]);
    const { state } = later;
    const copy = state === undefined ? undefined : shared.copied(state, "state", MAX_STATE);
    decide("wait", later.reason, { after: later.after, state: copy });
  };

  function laterOf(name, after, reason, known) {
    let state;
    if (typeof after === "object" && after !== null) {
      requireOptions(name, after, known);
      ({ after, reason = reason, state } = after);
    } else if (typeof after === "string" && reason === undefined && !(number(after) >= 0)) {
      [after, reason] = [undefined, after];
    }
    after = after === undefined || after === null ? undefined : seconds(name, after);
    return { after, reason, state };
  }

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
      return shared.copied(details, "details", shared.maxRequest);
    } catch (error) {
      const isTooLarge = shared.isTooLarge(error);
      return stringify(isTooLarge ? { tooLong: shared.maxRequest } : textOf(details));
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
        name === "reject" ? "reject() takes an object" : `${name}(after) takes seconds from now`);
    }
  }

  // A text with a number counts as one: settings and headers often come as texts.
  function seconds(name, after) {
    const isNumber = typeof after === "number" || typeof after === "bigint" ||
      typeof after === "string" && apply(trim, after, []) !== "";
    const given = isNumber ? number(after) : NaN;
    if (!isFinite(given) || given < 0) {
      throw new rangeError(`${name}(after) takes seconds from now, not less than 0`);
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
