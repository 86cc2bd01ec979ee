// crypto, as Node has it: createHash, createHmac, randomUUID, getRandomValues, timingSafeEqual and
// subtle.digest. Fourth argument: 64 hexadecimal digits from the random numbers of the system.
(function (shared, context, facts, seed) {
  "use strict";
  const { apply, defineProperty } = Reflect;
  const { hasOwn, keys } = Object;
  const { floor } = Math;
  const { isView } = ArrayBuffer;
  const { fromHex, fromBase64 } = Uint8Array;
  const { set, slice, subarray, fill, join, toBase64, toHex } = Uint8Array.prototype;
  const { charCodeAt, replace, toLowerCase, toUpperCase, toWellFormed } = String.prototype;
  const [bytesOf, words, text, buffer] = [Uint8Array, Uint32Array, String, ArrayBuffer];
  const [encode, toInteger, typeError, rangeError] =
    [encodeURIComponent, parseInt, TypeError, RangeError];
  const exception = globalThis.DOMException;
  const MAX_RANDOM = 65536;
  // Those of the standard of the web, which has fewer names than createHash.
  const DIGESTS = {
    "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512",
  };

  // The first bits of the roots of primes are the constants of SHA-2; here as whole numbers.
  function root(n, degree, bits) {
    const target = BigInt(n) << BigInt(degree * bits);
    let low = 0n, high = 1n << BigInt(bits + 8);
    while (high - low > 1n) {
      const middle = (low + high) >> 1n;
      [low, high] = middle ** BigInt(degree) <= target ? [middle, high] : [low, middle];
    }
    return BigInt.asUintN(bits, low);
  }

  const PRIMES = [];
  for (let n = 2; PRIMES.length < 80; n++) {
    if (PRIMES.every((prime) => n % prime)) {
      PRIMES.push(n);
    }
  }
  const constants = { __proto__: null };

  function of(name, make) {
    return constants[name] ??= make();
  }

  const HASHES = {
    __proto__: null,
    md5: { block: 64, size: 16, run: md5 },
    sha1: { block: 64, size: 20, run: sha1 },
    sha224: { block: 64, size: 28, run: (bytes) => sha256(bytes, [
      0xc1059ed8, 0x367cd507, 0x3070dd17, 0xf70e5939, 0xffc00b31, 0x68581511, 0x64f98fa7,
      0xbefa4fa4]) },
    sha256: { block: 64, size: 32, run: (bytes) => sha256(bytes, of("h256", () =>
      PRIMES.slice(0, 8).map((prime) => Number(root(prime, 2, 32))))) },
    sha384: { block: 128, size: 48, run: (bytes) => sha512(bytes, of("h384", () =>
      PRIMES.slice(8, 16).map((prime) => root(prime, 2, 64)))) },
    sha512: { block: 128, size: 64, run: (bytes) => sha512(bytes, of("h512", () =>
      PRIMES.slice(0, 8).map((prime) => root(prime, 2, 64)))) },
  };

  // The message with a one, zeros, and its length in bits at the end.
  function padded(bytes, block, isLittle) {
    const room = block / 8;
    const length = floor((bytes.length + room + block) / block) * block;
    const whole = new bytesOf(length);
    apply(set, whole, [bytes]);
    whole[bytes.length] = 0x80;
    const view = new DataView(whole.buffer);
    const [high, low] = [floor(bytes.length / 0x20000000), bytes.length << 3 >>> 0];
    view.setUint32(length - (isLittle ? 4 : 8), high, isLittle);
    view.setUint32(length - (isLittle ? 8 : 4), low, isLittle);
    return view;
  }

  function written(state, isLittle) {
    const view = new DataView(new buffer(state.length * 4));
    state.forEach((word, index) => view.setUint32(index * 4, word, isLittle));
    return new bytesOf(view.buffer);
  }

  function md5(bytes) {
    const sines = of("sines", () => Array.from({ length: 64 }, (_, i) =>
      floor(Math.abs(Math.sin(i + 1)) * 4294967296)));
    const turns = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    const view = padded(bytes, 64, true);
    const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
    for (let at = 0; at < view.byteLength; at += 64) {
      let [a, b, c, d] = state;
      for (let i = 0; i < 64; i++) {
        const round = i >> 4;
        const mixed = [b & c | ~b & d, d & b | ~d & c, b ^ c ^ d, c ^ (b | ~d)][round];
        const index = [i, 5 * i + 1, 3 * i + 5, 7 * i][round] & 15;
        const sum = a + mixed + sines[i] + view.getUint32(at + index * 4, true) | 0;
        const turn = turns[round][i & 3];
        [a, d, c, b] = [d, c, b, b + (sum << turn | sum >>> 32 - turn) | 0];
      }
      [a, b, c, d].forEach((word, index) => { state[index] = state[index] + word | 0; });
    }
    return written(state, true);
  }

  function sha1(bytes) {
    const view = padded(bytes, 64);
    const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
    const adds = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6];
    const w = new words(80);
    for (let at = 0; at < view.byteLength; at += 64) {
      let [a, b, c, d, e] = state;
      for (let i = 0; i < 80; i++) {
        const mixed = i < 16 ? 0 : w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
        w[i] = i < 16 ? view.getUint32(at + i * 4) : mixed << 1 | mixed >>> 31;
        const round = floor(i / 20);
        const chosen = round === 0 ? b & c | ~b & d : round === 2 ? b & c | b & d | c & d :
          b ^ c ^ d;
        const sum = (a << 5 | a >>> 27) + chosen + e + adds[round] + w[i] | 0;
        [e, d, c, b, a] = [d, c, b << 30 | b >>> 2, a, sum];
      }
      [a, b, c, d, e].forEach((word, index) => { state[index] = state[index] + word | 0; });
    }
    return written(state);
  }

  function sha256(bytes, initial) {
    const k = of("k256", () => PRIMES.slice(0, 64).map((prime) => Number(root(prime, 3, 32))));
    const view = padded(bytes, 64);
    const state = words.from(initial), w = new words(64);
    for (let at = 0; at < view.byteLength; at += 64) {
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 64; i++) {
        if (i < 16) {
          w[i] = view.getUint32(at + i * 4);
        } else {
          const x = w[i - 15], y = w[i - 2];
          w[i] = w[i - 16] + w[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) +
            ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10);
        }
        const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
        const one = h + s1 + (e & f ^ ~e & g) + k[i] + w[i] | 0;
        const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
        const two = s0 + (a & b ^ a & c ^ b & c) | 0;
        h = g; g = f; f = e; e = d + one | 0; d = c; c = b; b = a; a = one + two | 0;
      }
      [a, b, c, d, e, f, g, h].forEach((word, index) => { state[index] += word; });
    }
    return written(state);
  }

  function sha512(bytes, initial) {
    const k = of("k512", () => BigUint64Array.from(PRIMES.map((prime) => root(prime, 3, 64))));
    const view = padded(bytes, 128);
    const state = BigUint64Array.from(initial), w = new BigUint64Array(80);
    const turn = (x, n) => x >> n | x << 64n - n;
    const cut = (x) => BigInt.asUintN(64, x);
    for (let at = 0; at < view.byteLength; at += 128) {
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 80; i++) {
        if (i < 16) {
          w[i] = view.getBigUint64(at + i * 8);
        } else {
          const x = w[i - 15], y = w[i - 2];
          w[i] = w[i - 16] + w[i - 7] + cut(turn(x, 1n) ^ turn(x, 8n) ^ x >> 7n) +
            cut(turn(y, 19n) ^ turn(y, 61n) ^ y >> 6n);
        }
        const s1 = turn(e, 14n) ^ turn(e, 18n) ^ turn(e, 41n);
        const one = h + cut(s1) + (e & f ^ cut(~e) & g) + k[i] + w[i];
        const s0 = turn(a, 28n) ^ turn(a, 34n) ^ turn(a, 39n);
        const two = cut(s0) + (a & b ^ a & c ^ b & c);
        h = g; g = f; f = e; e = cut(d + one); d = c; c = b; b = a; a = cut(one + two);
      }
      [a, b, c, d, e, f, g, h].forEach((word, index) => { state[index] += word; });
    }
    const out = new DataView(new buffer(64));
    state.forEach((word, index) => out.setBigUint64(index * 8, word));
    return new bytesOf(out.buffer);
  }

  function hashNamed(name) {
    const hash = HASHES[apply(replace, apply(toLowerCase, text(name), []), [/^sha-/, "sha"])];
    if (hash === undefined) {
      throw new typeError(`there is no hash ${text(name)}: use md5, sha1, sha224, sha256, sha384 ` +
        "or sha512");
    }
    return hash;
  }

  function digested({ run, size }, pieces) {
    return apply(slice, run(joined(pieces)), [0, size]);
  }

  function joined(pieces) {
    let length = 0;
    for (const piece of pieces) {
      length += piece.length;
    }
    const whole = new bytesOf(length);
    length = 0;
    for (const piece of pieces) {
      apply(set, whole, [piece, length]);
      length += piece.length;
    }
    return whole;
  }

  function hmac(hash, key, pieces) {
    const whole = new bytesOf(hash.block);
    apply(set, whole, [key.length > hash.block ? digested(hash, [key]) : key]);
    const inner = digested(hash, [whole.map((byte) => byte ^ 0x36), ...pieces]);
    return digested(hash, [whole.map((byte) => byte ^ 0x5c), inner]);
  }

  // Texts are read in UTF-8, unless another encoding is named.
  function input(data, encoding) {
    if (typeof data === "string") {
      switch (encoding) {
        case undefined: case null: case "utf8": case "utf-8": return utf8(data);
        case "hex": return apply(fromHex, bytesOf, [data]);
        case "base64": return apply(fromBase64, bytesOf, [data]);
        case "base64url": return apply(fromBase64, bytesOf, [data, { alphabet: "base64url" }]);
      }
      throw new typeError(`there is no encoding ${text(encoding)}: use utf8, hex, base64, base64url`);
    }
    if (data instanceof buffer) {
      return apply(slice, new bytesOf(data), []);
    }
    if (isView(data)) {
      const { buffer: whole, byteOffset, byteLength } = data;
      return apply(slice, new bytesOf(whole, byteOffset, byteLength), []);
    }
    throw new typeError("crypto takes a text or bytes, not " + typeof data);
  }

  function utf8(value) {
    const escaped = encode(apply(toWellFormed, value, []));
    const bytes = new bytesOf(escaped.length);
    let length = 0;
    for (let i = 0; i < escaped.length; i++) {
      const code = apply(charCodeAt, escaped, [i]);
      if (code === 37) {
        bytes[length++] = toInteger(escaped[i + 1] + escaped[i + 2], 16);
        i += 2;
      } else {
        bytes[length++] = code;
      }
    }
    return apply(subarray, bytes, [0, length]);
  }

  function output(bytes, encoding) {
    switch (encoding) {
      case undefined: case null: case "buffer": return withEncodings(bytes);
      case "hex": return apply(toHex, bytes, []);
      case "base64": return apply(toBase64, bytes, []);
      case "base64url":
        return apply(toBase64, bytes, [{ alphabet: "base64url", omitPadding: true }]);
    }
    throw new typeError(`there is no encoding ${text(encoding)}: use hex, base64 or base64url`);
  }

  // As a Buffer of Node, where an encoding is named; without one it is an array as all others.
  function withEncodings(bytes) {
    const value = (encoding) => encoding === undefined ? apply(join, bytes, [","]) :
      output(bytes, encoding);
    defineProperty(bytes, "toString", { value, configurable: true, writable: true });
    return bytes;
  }

  function builder(finish) {
    let pieces = [];
    const made = {
      update(data, encoding) {
        requireOpen();
        pieces.push(input(data, encoding));
        return made;
      },
      digest(encoding) {
        requireOpen();
        const bytes = finish(pieces);
        pieces = undefined;
        return output(bytes, encoding);
      },
    };
    return made;

    function requireOpen() {
      if (pieces === undefined) {
        throw new Error("Digest already called");
      }
    }
  }

  // Random bytes: each block is the HMAC of its number.
  const key = apply(fromHex, bytesOf, [seed]);
  let blocks = 0, pool = new bytesOf(0);

  function random(length) {
    while (pool.length < length) {
      pool = joined([pool, hmac(HASHES.sha256, key, [utf8(text(blocks++))])]);
    }
    const bytes = apply(slice, pool, [0, length]);
    pool = apply(slice, pool, [length]);
    return bytes;
  }

  globalThis.crypto = {
    createHash(name) {
      const hash = hashNamed(name);
      return builder((pieces) => digested(hash, pieces));
    },
    createHmac(name, key) {
      const [hash, bytes] = [hashNamed(name), input(key)];
      return builder((pieces) => hmac(hash, bytes, pieces));
    },
    getRandomValues(array) {
      if (!isView(array) || array instanceof DataView || /Float/.test(array.constructor.name)) {
        throw new exception("getRandomValues() takes an array of integers", "TypeMismatchError");
      }
      if (array.byteLength > MAX_RANDOM) {
        const reason = `getRandomValues() takes at most ${MAX_RANDOM} bytes`;
        throw new exception(reason, "QuotaExceededError");
      }
      const view = new bytesOf(array.buffer, array.byteOffset, array.byteLength);
      for (let at = 0; at < view.length; at += 1024) {
        apply(set, view, [random(Math.min(1024, view.length - at)), at]);
      }
      return array;
    },
    randomUUID() {
      const bytes = random(16);
      bytes[6] = bytes[6] & 15 | 64;
      bytes[8] = bytes[8] & 63 | 128;
      return apply(replace, apply(toHex, bytes, []),
        [/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"]);
    },
    timingSafeEqual(one, other) {
      const [first, second] = [input(one), input(other)];
      if (typeof one === "string" || typeof other === "string") {
        throw new typeError("timingSafeEqual() takes bytes");
      }
      if (first.length !== second.length) {
        throw new rangeError("Input buffers must have the same byte length");
      }
      return first.reduce((sum, byte, index) => sum | byte ^ second[index], 0) === 0;
    },
    subtle: {
      async digest(algorithm, data) {
        if (typeof data === "string") {
          throw new typeError("subtle.digest() takes bytes");
        }
        const name = apply(toUpperCase, text(algorithm?.name ?? algorithm), []);
        if (!hasOwn(DIGESTS, name)) {
          const known = `there are ${keys(DIGESTS).join(", ")}`;
          throw new exception(`Unrecognized algorithm name ${name}: ${known}`, "NotSupportedError");
        }
        return digested(HASHES[DIGESTS[name]], [input(data)]).buffer;
      },
    },
  };
})
