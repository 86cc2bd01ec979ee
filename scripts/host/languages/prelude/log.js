// log, ftos.logging.log, context.log and console.
(function (shared, context) {
  "use strict";
  const MAX_LINES = 100, MAX_LENGTH = 8193;
  const { now } = Date;
  const { stringify } = JSON;
  const { apply } = Reflect;
  const { slice, toLowerCase } = String.prototype;
  const { toString } = Object.prototype;
  const [text, error] = [String, Error];
  const levels = { __proto__: null, fatal: "critical", warn: "warning", information: "info" };
  let lines = 0;

  context.log = globalThis.log = log;
  globalThis.ftos = { logging: { log } };
  globalThis.console = {
    log: says("info"), info: says("info"), debug: says("debug"),
    warn: says("warning"), error: says("error"),
  };

  function log(said, options) {
    let level = typeof options === "object" && options !== null ? options.level : options;
    level = level === undefined ? "info" : apply(toLowerCase, text(level), []);
    keep(textOf(said), levels[level] || level);
  }

  function says(level) {
    return function (...values) {
      let line = "";
      for (let i = 0; i < values.length; i++) {
        line += (i ? " " : "") + textOf(values[i]);
      }
      keep(line, level);
    };
  }

  function keep(line, level) {
    if (lines++ <= MAX_LINES) {
      const { logs } = shared;
      shared.hasNews = true;
      logs[logs.length] = [now() / 1000, level, apply(slice, line, [0, MAX_LENGTH])];
    }
  }

  function textOf(value) {
    if (typeof value !== "object" || value === null) {
      return text(value);
    }
    try {
      return value instanceof error ? text(value) + "\n" + text(value.stack) :
        stringify(value, shared.withShownNumbers) ?? text(value);
    } catch {
      return apply(toString, value, []);
    }
  }
})
