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
  // Naming one takes as long as throwing twenty.
  let left = 1000;
  // As in javascript_errors.py.
  const NAMELESS =
    /^(?:not a function$|cannot (?:read|set) property |Cannot convert undefined|value is not|invalid ')/;

  Error.prepareStackTrace = function prepareStackTrace(error, sites) {
    let stack = "";
    for (let i = 0; i < sites.length; i++) {
      stack += frame(sites[i]);
    }
    const { message } = error;
    if (left > 0 && error instanceof typeError && apply(test, NAMELESS, [message])) {
      left--;
      shared.given = undefined;
      shared.tell("name", stringify([message, stack]));
      if (typeof shared.given === "string") {
        const value = shared.given;
        defineProperty(error, "message", { value, writable: true, configurable: true });
      }
    }
    return stack;
  };

  function frame(site) {
    const name = site.getFunctionName() || "<anonymous>";
    const line = site.getLineNumber();
    const place = line > 0 ? `:${line}:${site.getColumnNumber()}` : "";
    const file = site.isNative() ? "native" : site.getFileName() + place;
    return `    at ${name} (${file})\n`;
  }
})
