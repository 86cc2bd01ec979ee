// Has Python name the value that an error of the engine is about, for scripts that catch errors.
//
// The engine asks for the stack of each new error here, and takes what is returned. Where there is no
// room for this call, when functions have called each other too deep, an error has no stack.
(function (shared) {
  "use strict";
  const { defineProperty } = Object;
  const { stringify } = JSON;
  const { apply } = Reflect;
  const { test } = RegExp.prototype;
  const typeError = TypeError;
  // Naming one takes as long as throwing twenty. One that comes again is known by message and stack.
  let left = 1000;
  const known = { __proto__: null };
  // The engine asks again where an error is thrown on.
  const told = { __proto__: null };
  // The engine's own messages are shorter.
  const MAX_LENGTH = 300;
  // As in javascript_errors.py.
  const NAMELESS =
    /^(?:not a function$|cannot (?:read|set) property |Cannot convert undefined|value is not|invalid ')/;

  Error.prepareStackTrace = function prepareStackTrace(error, sites) {
    let stack = "";
    for (let i = 0; i < sites.length; i++) {
      stack += frame(sites[i]);
    }
    const { message } = error;
    if (error instanceof typeError && typeof message === "string" && message.length < MAX_LENGTH &&
        told[message] === undefined && apply(test, NAMELESS, [message])) {
      const value = named(message, stack);
      if (value !== undefined) {
        told[value] = true;
        defineProperty(error, "message", { value, writable: true, configurable: true });
      }
    }
    return stack;
  };

  function named(message, stack) {
    const key = message + stack;
    if (known[key] === undefined && left > 0) {
      left--;
      shared.given = undefined;
      shared.tell("name", stringify([message, stack]));
      known[key] = shared.given;
    }
    return known[key];
  }

  function frame(site) {
    const name = site.getFunctionName() || "<anonymous>";
    const line = site.getLineNumber();
    const place = line > 0 ? `:${line}:${site.getColumnNumber()}` : "";
    const file = site.isNative() ? "native" : site.getFileName() + place;
    return `    at ${name} (${file})\n`;
  }
})
