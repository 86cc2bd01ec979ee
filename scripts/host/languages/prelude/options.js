// What the functions of the other parts refuse: further arguments, and unknown options.
(function (shared) {
  "use strict";
  const { keys } = Object;
  const { toString } = Object.prototype;
  const { apply } = Reflect;
  const { includes: isAmong, join } = Array.prototype;
  const typeError = TypeError;
  const { wrong } = shared;

  // Returns a function that refuses further arguments, which would otherwise be ignored.
  shared.taking = function (name, known, work) {
    return (...given) => {
      if (given.length > known.length) {
        const call = `${name}(${apply(join, known, [", "])})`;
        const most = known.length === 1 ? "1 argument" : `${known.length} arguments`;
        throw wrong(new typeError(`${call} takes ${most}, not ${given.length}`));
      }
      return work(...given);
    };
  };

  // Returns the options of a call. Those that are unknown, and texts in their place, would otherwise
  // be ignored; where `needed` ones are left empty, the script means more than it says.
  shared.optionsOf = function (call, options, known, needed = []) {
    if (options === undefined || options === null) {
      return {};
    }
    if (typeof options !== "object" || apply(toString, options, []) !== "[object Object]") {
      throw wrong(new typeError(`options must be an object: ${call} takes ${listed(known)}`));
    }
    const names = keys(options);
    for (let i = 0; i < names.length; i++) {
      const name = names[i];
      if (!apply(isAmong, known, [name])) {
        throw wrong(new typeError(`${call} takes ${listed(known)}, not ${name}`));
      }
      if ((options[name] ?? undefined) === undefined && apply(isAmong, needed, [name])) {
        throw wrong(new typeError(`${call} was given ${name} without a value`));
      }
    }
    return options;
  };

  function listed(names) {
    return apply(join, names, [names.length === 2 ? " and " : ", "]);
  }
})
