// log, ftos.logging.log, context.log and console.
//
// Python takes a line at the moment it is said, so that it is there whatever ends the script: the
// promise that is rejected here with the messenger is what the engine tells Python about.
(function (shared, context, facts, source) {
  "use strict";
  const MAX_LENGTH = 8193;
  const { now } = Date;
  const { stringify } = JSON;
  const { getPrototypeOf, keys, prototype: plain } = Object;
  const { apply } = Reflect;
  const { slice, toLowerCase, trim } = String.prototype;
  const { toString } = Object.prototype;
  const [text, error, rangeError, typeError, date] = [String, Error, RangeError, TypeError, Date];
  const { isArray } = Array;
  const evaluate = eval;
  // Shows what JSON cannot; evaluated where it is needed.
  let showing;
  const [promise, { reject }] = [Promise, Promise];
  const { wrong } = shared;
  const messenger = { text: "" };
  const LEVELS = ["debug", "info", "warning", "error", "critical"];
  const levels = {
    __proto__: null, debug: "debug", info: "info", warning: "warning", error: "error",
    critical: "critical", fatal: "critical", warn: "warning", err: "error", information: "info",
  };

  shared.tell = tell;
  context.log = globalThis.log = log;
  globalThis.ftos = { logging: { log } };
  globalThis.console = {
    log: says("info"), info: says("info"), debug: says("debug"), trace: says("debug"),
    warn: says("warning"), error: says("error"),
  };
  return messenger;

  // The last value may be the level, or {level}.
  function log(...values) {
    let level = "info";
    const last = values[values.length - 1];
    if (values.length > 1 && typeof last === "string" && named(last) !== undefined) {
      level = named(last);
      values.length--;
    } else if (values.length > 1 && isOptions(last)) {
      level = last.level === undefined ? level : required(last.level);
      values.length--;
    }
    keep(joined(values), level);
  }

  function says(level) {
    return (...values) => keep(joined(values), level);
  }

  function named(level) {
    return levels[apply(toLowerCase, apply(trim, level, []), [])];
  }

  function required(level) {
    const name = typeof level === "string" ? named(level) : undefined;
    if (name === undefined) {
      const shown = apply(slice, textOf(level), [0, 100]);
      throw wrong(new rangeError(`there is no log level '${shown}'; the levels are ${LEVELS.join(", ")}`));
    }
    return name;
  }

  function isOptions(value) {
    if (typeof value !== "object" || value === null || getPrototypeOf(value) !== plain) {
      return false;
    }
    const names = keys(value);
    return names.length === 1 && names[0] === "level";
  }

  function joined(values) {
    let line = "";
    for (let i = 0; i < values.length; i++) {
      line += (i ? " " : "") + textOf(values[i]);
    }
    return line;
  }

  function keep(line, level) {
    tell(level, apply(slice, line, [0, MAX_LENGTH]));
  }

  function tell(what, line) {
    messenger.text = now() / 1000 + " " + what + " " + line;
    apply(reject, promise, [messenger]);
    messenger.text = "";
  }

  function textOf(value) {
    if (typeof value !== "object" || value === null) {
      return text(value);
    }
    try {
      return value instanceof error ? text(value) + "\n" + text(value.stack) :
        isPlain(value) ? stringify(value, shown) :
        special(value) ?? stringify(value, shown) ?? text(value);
    } catch (thrown) {
      const why = thrown instanceof typeError ? ` (${thrown.message})` : "";
      return apply(toString, value, []) + why;
    }
  }

  // What JSON would write as {} or null.
  function shown(key, value) {
    if (typeof value === "function") {
      return text(value.name) === "" ? "[function]" : `[function ${value.name}]`;
    }
    if (value === null) {
      return this[key] instanceof date ? "Invalid Date" : value;
    }
    if (typeof value !== "object") {
      return apply(shared.withShownNumbers, this, [key, value]);
    }
    return isPlain(value) ? value : value instanceof error ? text(value) : special(value) ?? value;
  }

  function special(value) {
    showing ??= evaluate(source)(textOf, MAX_LENGTH);
    return showing(value);
  }

  function isPlain(value) {
    return isArray(value) || getPrototypeOf(value) === plain;
  }
})
