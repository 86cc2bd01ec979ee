// Math.random by sfc32, which Chris Doty-Humphrey gave to the public domain, with a seed from the
// host: the engine's own starts with the clock alone.
(function (shared, context, facts) {
  "use strict";
  let [a, b, c] = facts[6];
  let counter = 1;
  Math.random = function random() {
    return ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  };
  for (let i = 0; i < 12; i++) {
    next();
  }

  function next() {
    const sum = (a + b | 0) + counter++ | 0;
    a = b ^ b >>> 9;
    b = c + (c << 3) | 0;
    c = (c << 21 | c >>> 11) + sum | 0;
    return sum >>> 0;
  }
})
