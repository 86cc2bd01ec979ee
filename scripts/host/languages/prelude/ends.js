// retry and reject: the first call counts, whatever the script does with what is thrown here.
(function (kit) {
  "use strict";
  const { isFinite } = Number;
  const [text, error, rangeError] = [String, Error, RangeError];

  globalThis.retry = function retry(after, reason) {
    kit.stopIfDecided();
    if (typeof after === "object" && after !== null) {
      ({ after, reason = reason } = after);
    }
    if (typeof after === "string") {
      [after, reason] = [undefined, after];
    }
    if (after !== undefined && after !== null) {
      after = +after;
      if (!isFinite(after) || after < 0) {
        throw new rangeError("retry(after) takes seconds from now, not less than 0");
      }
    }
    decide("retry", reason, after);
  };

  globalThis.reject = function reject(reason) {
    kit.stopIfDecided();
    if (typeof reason === "object" && reason !== null && !(reason instanceof error)) {
      ({ reason = reason } = reason);
    }
    decide("reject", reason);
  };

  function decide(what, reason, after) {
    reason = reason === undefined || reason === null ? "" : text(reason);
    kit.verdict = { what, reason, after };
    kit.hasNews = true;
    kit.decision = new error(`${what}(): ${reason}`);
    throw kit.decision;
  }
})
