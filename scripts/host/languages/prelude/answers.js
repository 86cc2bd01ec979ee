// Promises of answers. A script that forgets `await` takes them for the answers themselves, and a
// promise is true, whatever the answer is.
(function (shared) {
  "use strict";
  const { defineProperty } = Object;
  const { apply } = Reflect;
  const { then } = Promise.prototype;
  const { toPrimitive, species } = Symbol;
  const other = { [species]: Promise };
  const typeError = TypeError;
  const { wrong } = shared;
  // The errors of questions whose answers nothing has waited for, by number.
  const open = { __proto__: null };
  let last = 0;

  // Returns the promise. To take it for a text or a number, or to read one of the members that its
  // answer has, throws.
  shared.answer = function (what, promise, members = []) {
    const refused = missing(what);
    function refuse() {
      throw wrong(refused);
    }
    defineProperty(promise, toPrimitive, { value: refuse });
    for (let i = 0; i < members.length; i++) {
      defineProperty(promise, members[i], { get: refuse });
    }
    return promise;
  };

  // The same of a call that only its answer is for: something has to wait for it.
  shared.question = function (what, promise) {
    const number = ++last;
    open[number] = missing(what);
    // With another constructor, `await` and the like call the method of this very promise.
    defineProperty(promise, "constructor", { value: other });
    defineProperty(promise, "then", { value(...given) {
      delete open[number];
      return apply(then, promise, given);
    } });
    return shared.answer(what, promise);
  };

  // Throws for the first question that nothing waits for.
  shared.requireAwait = function () {
    for (const number in open) {
      throw wrong(open[number]);
    }
  };

  function missing(what) {
    return new typeError(`${what} gives a promise: write await before it`);
  }
})
