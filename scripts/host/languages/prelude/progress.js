// context.progress: how far the script is, told at once by the messenger of log.js.
(function (shared, context) {
  "use strict";
  const MAX_LENGTH = 501;
  const { stringify } = JSON;
  const { apply } = Reflect;
  const { slice } = String.prototype;
  const [text, number, rangeError] = [String, Number, RangeError];
  const { wrong } = shared;

  context.progress = shared.taking("context.progress", ["done", "total", "text"], progress);

  function progress(done, total, words) {
    const facts = [
      checked("done", done),
      total === undefined || total === null ? null : checked("total", total),
      words === undefined || words === null ? "" : apply(slice, text(words), [0, MAX_LENGTH]),
    ];
    facts.toJSON = undefined;
    shared.tell("progress", stringify(facts));
  }

  function checked(name, value) {
    const found = typeof value === "bigint" ? number(value) : value;
    if (typeof found !== "number" || found - found !== 0 || found < 0) {
      const shown = apply(slice, text(value), [0, 100]);
      throw wrong(new rangeError(`${name} must be a finite number from 0 on, not ${shown}`));
    }
    return found;
  }
})
