// Finds how a number of a copy was written where its value came in several writings: by its key, or
// by all that is in the array. It reads the texts again, which is needed seldom.
(function (nameOf, revived) {
  "use strict";
  const { parse } = JSON;
  const { isSafeInteger } = Number;
  const { isArray } = Array;
  const { is } = Object;
  // null: there are several writings.
  const ofMembers = Object.create(null), ofContents = Object.create(null);
  const found = new Map();

  return { read, ofMember: (name, key) => ofMembers[name + "/" + key], ofArray };

  function read(body) {
    const ofArrays = new Map();
    parse(body, function (key, value, { source }) {
      if (isArray(value) && ofArrays.has(value)) {
        note(ofContents, contentOf(value), ofArrays.get(value));
      } else if (typeof value === "number") {
        value = revived(value, source);
        if (isArray(this)) {
          const own = ofArrays.get(this) ?? [];
          own[key] = source;
          ofArrays.set(this, own);
        } else if (!isSafeInteger(value)) {
          note(ofMembers, nameOf(this, key, value) + "/" + key, source);
        }
      }
      return value;
    });
  }

  function note(known, name, writing) {
    const isAnother = name in known && String(known[name]) !== String(writing);
    known[name] = isAnother ? null : writing;
  }

  function ofArray(array, index) {
    if (!found.has(array)) {
      found.set(array, ofContents[contentOf(array)]);
    }
    return found.get(array)?.[index];
  }

  // Of objects only that they are there.
  function contentOf(array) {
    let content = "";
    for (let i = 0; i < array.length; i++) {
      const item = array[i];
      const kind = typeof item;
      content += kind === "string" ? `"${item.length}:${item}` : is(item, -0) ? ",-0" :
        kind === "object" && item !== null || kind === "function" || kind === "symbol" ? "{" :
        `,${item}`;
    }
    return content;
  }
})
