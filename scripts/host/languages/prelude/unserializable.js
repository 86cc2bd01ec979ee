// Finds the part of a value that JSON cannot hold, and throws a TypeError that names its place.
(function (shared, root, maxDepth, whole) {
  "use strict";
  const hints = {
    __proto__: null, Map: "use Object.fromEntries()", Set: "use Array.from()",
    Promise: "await it", Error: "use its message", RegExp: "use its source",
    Date: "use toISOString()",
  };
  const found = root === undefined ? ["", "is undefined, which is no output"] :
    unserializableIn(root, "", undefined, 0);
  if (found) {
    throw shared.refuse(TypeError, whole, found[1] + ".", found[0]);
  }

  // Returns [the place below here, the reason], or undefined.
  function unserializableIn(value, key, outer, depth) {
    if (value !== null && value !== undefined && typeof value.toJSON === "function") {
      const made = value.toJSON(key);
      if (made === null && value instanceof Date) {
        return ["", "is an invalid Date"];
      }
      if (made === null && typeof value.isValid === "function" && value.isValid() === false) {
        return ["", "is an invalid date"];
      }
      value = made;
    }
    const isObject = typeof value === "object" && value !== null;
    if (value === undefined && outer && Array.isArray(outer.value)) {
      return ["", "is undefined or a hole, which JSON would make null; use null"];
    }
    const reason = reasonAgainst(value) || isObject && reasonAgainstDepth(value, outer, depth);
    if (reason) {
      return ["", reason];
    }
    if (!isObject) {
      return undefined;
    }
    const names = Array.isArray(value) ? undefined : Object.keys(value);
    const size = names ? names.length : value.length;
    for (let i = 0, below = { value, outer }; i < size; i++) {
      const name = names ? names[i] : i;
      if (names && reasonAgainst(name)) {
        return ["", "has a key that " + reasonAgainst(name)];
      }
      const found = unserializableIn(value[name], String(name), below, depth + 1);
      if (found) {
        return [step(name) + found[0], found[1]];
      }
    }
    const left = leftOut(value);
    return left && ["", `${left}, which JSON would leave out`];
  }

  // As in core.js.
  function leftOut(value) {
    const isEnumerable = (key) => key !== shared.writings &&
      Object.prototype.propertyIsEnumerable.call(value, key);
    if (Object.getOwnPropertySymbols(value).some(isEnumerable)) {
      return "has a symbol as a key";
    }
    const isMatch = ["index", "input", "groups"].every((name) => Object.hasOwn(value, name));
    const names = Array.isArray(value) && !isMatch ? Object.keys(value) : [];
    const hasMore = names.length > 0 && names.length > value.length;
    return hasMore ? `is an array with the property ${names.at(-1)}` : undefined;
  }

  function reasonAgainst(value) {
    switch (typeof value) {
      case "string":
        return value.includes("\0") ? "holds a NUL character" : value.isWellFormed() ? "" :
          "holds a lone surrogate, which is not a character";
      case "number":
        return value - value === 0 ? "" : value === value ?
          "is infinite, which JSON cannot hold" : "is NaN, which JSON cannot hold";
      case "function":
        return "is a function, which JSON cannot hold; call it";
      case "symbol":
        return "is a symbol, which JSON cannot hold";
      case "object":
        return value === null || Array.isArray(value) ? "" :
          reasonAgainstKind(Object.prototype.toString.call(value).slice(8, -1));
    }
    return "";
  }

  function reasonAgainstKind(kind) {
    if (/^(Object|Number|String|Boolean)$/.test(kind)) {
      return "";
    }
    const hint = hints[kind] ?? (kind.endsWith("Array") ? "use Array.from()" : "");
    const article = /^[AEIO]/.test(kind) ? "an" : "a";
    return `is ${article} ${kind}, which JSON cannot hold` + (hint && "; " + hint);
  }

  function reasonAgainstDepth(value, outer, depth) {
    for (let each = outer; each; each = each.outer) {
      if (each.value === value) {
        return "contains itself";
      }
    }
    return depth >= maxDepth ? `is nested more than ${maxDepth} deep` : "";
  }

  function step(key) {
    if (typeof key === "number") {
      return `[${key}]`;
    }
    return /^[\p{L}_][\p{L}\p{N}_]*$/u.test(key) ? "." + key : `[${JSON.stringify(key)}]`;
  }
})
