// Math.random by sfc32, which Chris Doty-Humphrey gave to the public domain, with a seed from the
// host for each message: the engine's own is that of its realm, which is made once.
(function (shared) {
  "use strict";
  let a, b, c, counter = 0;
  Math.random = function random() {
    if (counter === 0) {
      begin(shared.seed);
    }
    return ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  };

  function begin(seed) {
    a = seed[0];
    b = seed[1];
    c = seed[2];
    counter = 1;
    for (let i = 0; i < 12; i++) {
      next();
    }
  }

  function next() {
    const sum = (a + b | 0) + counter++ | 0;
    a = b ^ b >>> 9;
    b = c + (c << 3) | 0;
    c = (c << 21 | c >>> 11) + sum | 0;
    return sum >>> 0;
  }
})
