// structuredClone: a deep copy that keeps cycles, dates, maps, sets, bytes and errors.
(function (shared) {
  "use strict";
  const { apply, ownKeys } = Reflect;
  const { isArray } = Array;
  const { hasOwn, keys, defineProperty } = Object;
  const { toString } = Object.prototype;
  const { isView } = ArrayBuffer;
  const [map, exception] = [Map, globalThis.DOMException];
  const ERRORS = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

  // Without the options: what they would transfer is copied.
  globalThis.structuredClone = shared.taking("structuredClone", ["value"], (...given) => {
    if (!given.length) {
      throw shared.wrong(new TypeError("structuredClone() takes a value"));
    }
    return copy(given[0], new map());
  });

  function copy(value, known) {
    switch (typeof value) {
      case "function": case "symbol":
        throw refusal(value);
      case "object":
        break;
      default:
        return value;
    }
    if (value === null) {
      return null;
    }
    if (known.has(value)) {
      return known.get(value);
    }
    const [made, complete] = begun(value, known);
    known.set(value, made);
    complete?.(made);
    return made;
  }

  // The new object, and what fills it once it is known.
  function begun(value, known) {
    if (isArray(value)) {
      return [new Array(value.length), (made) => fill(made, value, known)];
    }
    if (isView(value)) {
      const whole = copy(value.buffer, known);
      const length = value instanceof DataView ? value.byteLength : value.length;
      return [new globalThis[kindOf(value)](whole, value.byteOffset, length)];
    }
    switch (kindOf(value)) {
      case "Date": return [new Date(value.getTime())];
      case "RegExp": return [new RegExp(value.source, value.flags)];
      case "Boolean": case "Number": case "String": case "BigInt":
        return [Object(value.valueOf())];
      case "ArrayBuffer": return [value.slice(0)];
      case "Map":
        return [new map(), (made) => [...value].forEach(([key, item]) =>
          made.set(copy(key, known), copy(item, known)))];
      case "Set":
        return [new Set(), (made) => [...value].forEach((item) => made.add(copy(item, known)))];
      case "Error": return [errorLike(value, known)];
      case "Object": case "Arguments":
        return [{}, (made) => fill(made, value, known)];
    }
    throw refusal(value);
  }

  function fill(made, value, known) {
    for (const key of keys(value)) {
      const item = copy(value[key], known);
      if (key === "__proto__") {
        defineProperty(made, key, { value: item, writable: true, enumerable: true, configurable: true });
      } else {
        made[key] = item;
      }
    }
    shared.copyWritings(value, made);
  }

  function errorLike(value, known) {
    const kind = hasOwn(ERRORS, value.name) ? ERRORS[value.name] : Error;
    const made = new kind(value.message);
    defineProperty(made, "stack", { value: value.stack, writable: true, configurable: true });
    if (hasOwn(value, "cause")) {
      const cause = copy(value.cause, known);
      defineProperty(made, "cause", { value: cause, writable: true, configurable: true });
    }
    return made;
  }

  function kindOf(value) {
    return apply(toString, value, []).slice(8, -1);
  }

  function refusal(value) {
    const shown = typeof value === "object" ? `#<${kindOf(value)}>` : String(value);
    return new exception(`${shown} could not be cloned.`, "DataCloneError");
  }
})
