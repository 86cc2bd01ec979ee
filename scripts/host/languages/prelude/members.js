// Members that the code reads of `context` and that are not there: reading one is an error.
(function (shared, context, facts, missing) {
  "use strict";
  const { defineProperty, entries } = Object;
  const typeError = TypeError;
  const enumerable = true, writable = true, configurable = true;

  for (const [name, hint] of entries(JSON.parse(missing))) {
    defineProperty(context, name, {
      configurable,
      get() {
        throw shared.wrong(new typeError(`context has no ${name}${hint}`));
      },
      // From then on it is there.
      set(value) {
        defineProperty(context, name, { value, enumerable, writable, configurable });
      },
    });
  }
})
