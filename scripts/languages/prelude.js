// What a JavaScript script finds in its world, besides the language: context, setData, log, ftos,
// console, http, retry and reject. Evaluated before libraries and script in each message's realm.
//
// Its value is the function by which javascript.py drives the realm: engine(what, ...). Nothing in
// here calls into Python; logs and requests are collected, and fetched between the jobs.
//
// A script may change every built-in, so what is needed later is taken now, and methods of arrays
// and strings are avoided. It harms only itself: the host believes nothing that comes out.
(function () {
  "use strict";
  const START = 0, RUN = 1, TAKE = 2, SETTLE = 3, FAIL = 4;
  const MAX_DEPTH = 1000, MAX_LOG_LINES = 100, MAX_LOG_LENGTH = 8193, MAX_CAUSES = 5;
  const { parse, stringify, rawJSON } = JSON;
  const { isArray } = Array;
  const { getPrototypeOf, prototype: plain, keys, defineProperty } = Object;
  const { apply } = Reflect;
  const { now } = Date;
  const { isFinite } = Number;
  const { includes, slice, charCodeAt, isWellFormed, toLowerCase } = String.prototype;
  const { toString } = plain;
  const { test } = RegExp.prototype;
  const [text, bigint, date, error, typeError, internalError, promise, proxy] =
    [String, BigInt, Date, Error, TypeError, InternalError, Promise, Proxy];

  let output, verdict, decision, failure, isSettled = false;
  let logs = [], logLines = 0, requests = [], lastRequest = 0, containers = 0;
  const replies = {}, misfits = [], misfit = {};

  function engine(what, first, second, third) {
    switch (what) {
      case START: return start(first, second, third);
      case RUN: return run(first);
      case TAKE: return take();
      case SETTLE: return settle(first, second, third);
      case FAIL: return fail(first);
    }
  }

  function start(body, facts, hasLongIntegers) {
    const [correlationId, flow, step, queue, attempt, deliveryId, seed, secrets] = parse(facts);
    const context = {
      Data: parse(body, hasLongIntegers ? revive : undefined),
      correlationId, correlation_id: correlationId, flow, step, queue, attempt,
      deliveryId, delivery_id: deliveryId, log, http, secrets: secretsOf(secrets),
    };
    const globals = {
      context, setData, log, retry, reject, http,
      ftos: { logging: { log } },
      console: {
        log: says("info"), info: says("info"), debug: says("debug"),
        warn: says("warning"), error: says("error"),
      },
    };
    for (const name in globals) {
      defineGlobal(name, globals[name]);
    }
    Math.random = randomFrom(seed);
  }

  function defineGlobal(name, value) {
    defineProperty(globalThis, name, { value, writable: true, configurable: true });
  }

  async function run(script) {
    try {
      await script();
    } catch (thrown) {
      fail(thrown);
    }
    isSettled = true;
  }

  // The output, or all that Python has to know or to do before the script can go on.
  function take() {
    if (isSettled && output !== undefined && !logs.length && !requests.length &&
        verdict === undefined && failure === undefined) {
      return output;
    }
    const state = {
      isSettled, verdict, failure, logs, requests, hasOutput: output !== undefined,
    };
    logs = [];
    requests = [];
    return " " + stringify(state);
  }

  // The output

  // The last call counts. Copies at once: what is done to the value later is not seen.
  function setData(value) {
    stopIfDecided();
    output = undefined;
    containers = 0;
    let copy, problem;
    try {
      copy = stringify(value, checked);
    } catch (thrown) {
      problem = { thrown };
    }
    if (copy === undefined || containers > MAX_DEPTH ||
        apply(includes, copy, ["\\u0000"]) || apply(includes, copy, ["\\ud"])) {
      refuseMisfit(value);
      if (problem) {
        throw problem.thrown;
      }
    }
    output = copy;
  }

  function refuseMisfit(value) {
    const found = value === undefined ? ["", "is undefined, which is no output"] :
      misfitIn(value, "", undefined, 0);
    if (found) {
      const [place, reason] = ["$" + found[0], found[1] + "."];
      const refusal = new typeError(place + " " + reason);
      misfits[misfits.length] = { refusal, place, reason };
      throw refusal;
    }
  }

  // Passes what JSON has and refuses what it would leave out or change without a word.
  function checked(key, value) {
    switch (typeof value) {
      case "string": case "boolean": case "undefined":
        return value;
      case "number":
        if (value - value === 0) {
          return value;
        }
        break;
      case "bigint":
        return rawJSON(text(value));
      case "object":
        if (value === null) {
          if (!(this[key] instanceof date)) {
            return value;
          }
          break;
        }
        containers++;
        if (isArray(value) || isPlain(value)) {
          return value;
        }
    }
    throw misfit;
  }

  function isPlain(value) {
    const prototype = getPrototypeOf(value);
    return prototype === plain || prototype === null ||
      apply(test, /^(Object|Number|String|Boolean)$/, [kindOf(value)]);
  }

  function kindOf(value) {
    return apply(slice, apply(toString, value, []), [8, -1]);
  }

  // Finds what JSON cannot hold: [its place below here, the reason], or nothing.
  function misfitIn(value, key, outer, depth) {
    if (value !== null && value !== undefined && typeof value.toJSON === "function") {
      const made = value.toJSON(key);
      if (made === null && value instanceof date) {
        return ["", "is an invalid Date"];
      }
      value = made;
    }
    const isObject = typeof value === "object" && value !== null;
    const reason = reasonAgainst(value) || isObject && reasonAgainstDepth(value, outer, depth);
    if (reason) {
      return ["", reason];
    }
    if (!isObject) {
      return undefined;
    }
    const names = isArray(value) ? undefined : keys(value);
    const size = names ? names.length : value.length;
    for (let i = 0, below = { value, outer }; i < size; i++) {
      const name = names ? names[i] : i;
      if (names && reasonAgainst(name)) {
        return ["", "has a key that " + reasonAgainst(name)];
      }
      const found = misfitIn(value[name], text(name), below, depth + 1);
      if (found) {
        return [step(name) + found[0], found[1]];
      }
    }
    return undefined;
  }

  function reasonAgainstDepth(value, outer, depth) {
    for (let each = outer; each; each = each.outer) {
      if (each.value === value) {
        return "contains itself";
      }
    }
    return depth >= MAX_DEPTH ? "is nested more than " + MAX_DEPTH + " deep" : "";
  }

  function step(key) {
    if (typeof key === "number") {
      return "[" + key + "]";
    }
    return apply(test, /^[\p{L}_][\p{L}\p{N}_]*$/u, [key]) ? "." + key : "[" + stringify(key) + "]";
  }

  function reasonAgainst(value) {
    switch (typeof value) {
      case "string":
        if (apply(includes, value, ["\0"])) {
          return "holds a NUL character";
        }
        return apply(isWellFormed, value, []) ? "" :
          "holds a lone surrogate, which is not a character";
      case "number":
        return value - value === 0 ? "" : value === value ?
          "is infinite, which JSON cannot hold" : "is NaN, which JSON cannot hold";
      case "function":
        return "is a function, which JSON cannot hold; call it";
      case "symbol":
        return "is a symbol, which JSON cannot hold";
      case "object":
        return value === null || isArray(value) || isPlain(value) ? "" : against(kindOf(value));
    }
    return "";
  }

  const hints = {
    __proto__: null, Map: "use Object.fromEntries()", Set: "use Array.from()",
    Promise: "await it", Error: "use its message", RegExp: "use its source",
    Date: "use toISOString()",
  };
  function against(kind) {
    const hint = hints[kind] || (apply(test, /Array$/, [kind]) ? "use Array.from()" : "");
    const article = apply(test, /^[AEIO]/, [kind]) ? "an " : "a ";
    return "is " + article + kind + ", which JSON cannot hold" + (hint && "; " + hint);
  }

  // The end asked for

  function retry(after, reason) {
    stopIfDecided();
    if (typeof after === "object" && after !== null) {
      ({ after, reason = reason } = after);
    }
    if (typeof after === "string") {
      [after, reason] = [undefined, after];
    }
    if (after !== undefined && after !== null) {
      after = +after;
      if (!isFinite(after) || after < 0) {
        throw new RangeError("retry(after) takes seconds from now, not less than 0");
      }
    }
    decide("retry", reason, after);
  }

  function reject(reason) {
    stopIfDecided();
    if (typeof reason === "object" && reason !== null && !(reason instanceof error)) {
      ({ reason = reason } = reason);
    }
    decide("reject", reason);
  }

  // The first call counts, whatever the script does with what is thrown here.
  function decide(what, reason, after) {
    reason = reason === undefined || reason === null ? "" : textOf(reason);
    verdict = { what, reason, after };
    decision = new error(what + "(): " + reason);
    throw decision;
  }

  function stopIfDecided() {
    if (verdict !== undefined) {
      throw decision;
    }
  }

  function fail(thrown) {
    if (verdict !== undefined || failure !== undefined) {
      return;
    }
    for (let i = 0; i < misfits.length; i++) {
      const { refusal, place, reason } = misfits[i];
      if (refusal === thrown) {
        failure = { place, reason };
        return;
      }
    }
    try {
      failure = described(thrown);
    } catch {
      failure = { message: "Thrown: a value that cannot be shown", stack: "" };
    }
  }

  function described(thrown) {
    if (thrown === null || thrown instanceof internalError && thrown.message === "out of memory") {
      // Without any memory left there is not even an error to throw.
      return { mayBeMemory: thrown === null ? "perhaps" : "yes", message: headline(thrown), stack: "" };
    }
    let stack = "", joint = "", cause = thrown;
    for (let i = 0; i < MAX_CAUSES && cause instanceof error; i++) {
      stack += joint + headline(cause) + "\n" + text(cause.stack);
      joint = "\nCaused by ";
      cause = cause.cause;
    }
    return { message: headline(thrown), stack };
  }

  function headline(thrown) {
    if (thrown instanceof error) {
      return text(thrown.name) + (thrown.message ? ": " + text(thrown.message) : "");
    }
    return "Thrown: " + textOf(thrown);
  }

  // Logs

  const levels = {
    __proto__: null, fatal: "critical", warn: "warning", information: "info",
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
    if (logLines++ <= MAX_LOG_LINES) {
      logs[logs.length] = [now() / 1000, level, apply(slice, line, [0, MAX_LOG_LENGTH])];
    }
  }

  function textOf(value) {
    if (typeof value !== "object" || value === null) {
      return text(value);
    }
    try {
      return value instanceof error ? headline(value) + "\n" + text(value.stack) :
        stringify(value, (_, each) => typeof each === "bigint" ? rawJSON(text(each)) : each) ??
        text(value);
    } catch {
      return apply(toString, value, []);
    }
  }

  // Requests to the outside

  const http = {
    get: (url, options) => send("GET", url, undefined, options),
    post: (url, body, options) => send("POST", url, body, options),
    put: (url, body, options) => send("PUT", url, body, options),
    patch: (url, body, options) => send("PATCH", url, body, options),
    delete: (url, options) => send("DELETE", url, undefined, options),
  };

  function send(method, url, body, options) {
    return new promise((resolve, fail) => {
      stopIfDecided();
      const { headers, timeout } = options || {};
      const sent = {};
      for (const name of keys(headers || {})) {
        sent[name] = text(headers[name]);
      }
      const request = { method, url: text(url), headers: sent, body: null, timeout };
      if (typeof body === "string") {
        request.body = body;
      } else if (body !== undefined && body !== null) {
        request.body = stringify(body, (_, each) =>
          typeof each === "bigint" ? rawJSON(text(each)) : each);
        if (!hasHeader(sent, "content-type")) {
          sent["Content-Type"] = "application/json";
        }
      }
      replies[++lastRequest] = [resolve, fail];
      requests[requests.length] = [lastRequest, request];
    });
  }

  function hasHeader(headers, wanted) {
    for (const name of keys(headers)) {
      if (apply(toLowerCase, name, []) === wanted) {
        return true;
      }
    }
    return false;
  }

  // The reply's data comes apart where it has long integers.
  function settle(number, answer, data) {
    const [resolve, fail] = replies[number];
    delete replies[number];
    const reply = parse(answer);
    if (reply.error !== undefined) {
      const refused = new error(reply.error);
      refused.name = "HttpError";
      refused.kind = reply.kind;
      return fail(refused);
    }
    reply.ok = reply.status >= 200 && reply.status < 300;
    reply.data = undefined;
    try {
      reply.data = data === undefined ? parse(reply.body) : parse(data, revive);
    } catch {
      // It is not JSON.
    }
    return resolve(reply);
  }

  // Integers that a number cannot hold come as strings that no message can have.
  function revive(key, value) {
    return typeof value === "string" && apply(charCodeAt, value, [0]) === 0 ?
      bigint(apply(slice, value, [1])) : value;
  }

  function secretsOf(secrets) {
    return new proxy(secrets, {
      get(target, name) {
        if (typeof name === "string" && name !== "toJSON" && !(name in target)) {
          throw new ReferenceError("the script may not read a secret " + name);
        }
        return target[name];
      },
    });
  }

  // sfc32 by Chris Doty-Humphrey, in public domain: the built-in one starts with the clock alone.
  function randomFrom([a, b, c]) {
    let counter = 1;
    const next = () => {
      const sum = (a + b | 0) + counter++ | 0;
      a = b ^ b >>> 9;
      b = c + (c << 3) | 0;
      c = (c << 21 | c >>> 11) + sum | 0;
      return sum >>> 0;
    };
    for (let i = 0; i < 12; i++) {
      next();
    }
    return function random() {
      return ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
    };
  }

  return engine;
})()
