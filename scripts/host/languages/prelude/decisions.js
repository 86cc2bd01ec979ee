// retry, wait and reject: the first call counts, even if the script catches the error thrown here.
(function (shared) {
  "use strict";
  // As in wait_state.py and rejections.py.
  const MAX_STATE = 64 * 1024, MAX_CODE = 99;
  // As in exceptions.py.
  const MAX_DAYS = 366, MAX_SECONDS = MAX_DAYS * 86400;
  const { isFinite } = Number;
  const { getPrototypeOf, keys, prototype: plain } = Object;
  const { optionsOf, taking, wrong } = shared;
  const { apply } = Reflect;
  const { includes } = Array.prototype;
  const { slice, trim } = String.prototype;
  const { test } = RegExp.prototype;
  const { getTime } = Date.prototype;
  const { now } = Date;
  const TIME = /^\s*\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)\s*$/i;
  const WORDS = /^(?!\s*(?:nan|inf|infinity)\s*$)\s*\p{L}/iu;
  const MAX_SHOWN = 50;
  const { stringify } = JSON;
  const OF_REJECT = ["reason", "code", "details"];
  const OF_WAIT = ["after", "reason", "state"], OF_RETRY = ["after", "reason"];
  const [text, number, date] = [String, Number, Date];
  const [error, rangeError] = [Error, RangeError];

  globalThis.retry = taking("retry", OF_RETRY, retry);
  globalThis.wait = taking("wait", OF_WAIT, wait);
  globalThis.reject = taking("reject", ["reason", "options"], reject);

  function retry(after, reason) {
    shared.stopIfDecided();
    if (typeof after === "string" && reason === undefined && apply(test, WORDS, [after])) {
      // A text alone that is not meant as a number or a time.
      [after, reason] = [undefined, after];
    }
    const later = laterOf("retry", OF_RETRY, after, reason);
    decide("retry", later.reason, { after: later.after });
  }

  // Waiting is no failure. The state is what the next attempt finds in context.waitState.
  function wait(after, reason, given) {
    shared.stopIfDecided();
    const later = laterOf("wait", OF_WAIT, after, reason, given);
    const { state } = later;
    const copy = state === undefined ? undefined : shared.copied(state, "state", MAX_STATE);
    decide("wait", later.reason, { after: later.after, state: copy });
  }

  function laterOf(name, known, after, reason, state) {
    if (isPlain(after)) {
      optionsOf(`${name}()`, after, known);
      ({ after, reason = reason, state = state } = after);
    }
    after = after === undefined || after === null ? undefined : seconds(name, after);
    return { after, reason, state };
  }

  // reject(reason, {code, details}), also as one object {reason, code, details}.
  function reject(reason, options) {
    shared.stopIfDecided();
    if (options === undefined && isPlain(reason)) {
      const names = keys(reason);
      if (names.length > 0 && names.every((name) => apply(includes, OF_REJECT, [name]))) {
        [reason, options] = [reason.reason, { code: reason.code, details: reason.details }];
      }
    }
    const { code, details } = optionsOf("reject()", options, ["code", "details"]);
    decide("reject", reason, {
      code: code === undefined || code === null ? undefined : codeOf(text(code)),
      details: details === undefined || details === null ? undefined : detailsOf(details),
    });
  }

  function codeOf(code) {
    if (code.length > MAX_CODE) {
      const reason = `has ${code.length} characters; at most ${MAX_CODE} are allowed.`;
      throw shared.refuse(rangeError, "code", reason);
    }
    return code;
  }

  // JSON text, cut where it is too long.
  function detailsOf(details) {
    try {
      return shared.copied(details, "details", shared.maxRequest);
    } catch (error) {
      if (!shared.isTooLarge(error)) {
        throw error;
      }
      return stringify({ tooLong: shared.maxRequest });
    }
  }

  function isPlain(value) {
    const prototype = typeof value === "object" && value !== null ? getPrototypeOf(value) : value;
    return prototype === plain || prototype === null && value !== null;
  }

  function seconds(name, after) {
    const given = fromNow(after);
    if (!isFinite(given) || given < 0) {
      throw wrong(new rangeError(refused(name, after)));
    }
    if (given > MAX_SECONDS) {
      throw wrong(new rangeError(`${name}(after) takes at most ${MAX_SECONDS} seconds from now ` +
        `(${MAX_DAYS} days), not ${given}; a time is given as a Date or an ISO text`));
    }
    return given;
  }

  // A text with a number counts as one: settings and headers often come as texts. The others are
  // times, and one that is over is now.
  function fromNow(after) {
    const isText = typeof after === "string";
    if (after instanceof date || isText && apply(test, TIME, [after])) {
      const left = (isText ? date.parse(apply(trim, after, [])) : apply(getTime, after, [])) - now();
      return left < 0 ? 0 : left / 1000;
    }
    const isNumber = typeof after === "number" || typeof after === "bigint" ||
      isText && apply(trim, after, []) !== "";
    return isNumber ? number(after) : NaN;
  }

  function refused(name, after) {
    const said = `${name}(after) takes seconds from now, not less than 0, or a time with its zone`;
    if (typeof after !== "string") {
      return said;
    }
    const shown = stringify(after.length > MAX_SHOWN ? apply(slice, after, [0, MAX_SHOWN]) + "…" : after);
    return `${said}, not ${shown}; a reason is given as ${name}({ reason: … })`;
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
