// Hides the property that numerals.js gives to objects from what lists the symbols of an object.
(function (shared) {
  "use strict";
  const { defineProperty } = Object;
  const { apply } = Reflect;
  const { filter } = Array.prototype;

  hideFrom(Object, "getOwnPropertySymbols");
  hideFrom(Reflect, "ownKeys");

  function hideFrom(holder, name) {
    const original = holder[name];
    const value = { [name](object) {
      return apply(filter, original(object), [(key) => key !== shared.writings]);
    } }[name];
    defineProperty(holder, name, { value, writable: true, configurable: true });
  }
})
