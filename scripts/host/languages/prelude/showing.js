// Shows values in lines of the log that JSON would write as {}. Evaluated where it is needed.
(function (textOf, MAX_LENGTH) {
  "use strict";
  const { stringify } = JSON;
  const { apply } = Reflect;
  const { slice } = String.prototype;
  const { toString } = Object.prototype;
  const text = String;
  // Only there where the code names typed arrays.
  const Bytes = globalThis.Uint8Array, isView = globalThis.ArrayBuffer?.isView;
  const MAX_DEPTH = 4;
  let depth = 0;
  return special;

  // As Node shows it; undefined for what JSON can show.
  function special(value) {
    if (depth > MAX_DEPTH) {
      return apply(toString, value, []);
    }
    depth++;
    try {
      const kind = apply(slice, apply(toString, value, []), [8, -1]);
      switch (kind) {
        case "Map":
          return listed(`Map(${value.size}) {`, value, ([key, item]) =>
            `${inner(key)} => ${inner(item)}`, "}");
        case "Set":
          return listed(`Set(${value.size}) {`, value, inner, "}");
        case "RegExp":
          return text(value);
        case "Date":
          return value - value === 0 ? undefined : "Invalid Date";
        case "ArrayBuffer":
          return listed(`ArrayBuffer(${value.byteLength}) [`, new Bytes(value), text, "]");
        case "Promise": case "WeakMap": case "WeakSet": case "WeakRef": case "DataView":
          return apply(toString, value, []);
      }
      return isView?.(value) ? listed(`${kind}(${value.length}) [`, value, text, "]") : undefined;
    } finally {
      depth--;
    }
  }

  function listed(line, items, each, end) {
    let joint = "";
    for (const item of items) {
      line += joint + each(item);
      joint = ", ";
      if (line.length > MAX_LENGTH) {
        break;
      }
    }
    return line + end;
  }

  function inner(value) {
    return typeof value === "string" ? stringify(value) : textOf(value);
  }
})
