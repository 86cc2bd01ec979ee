// TextEncoder and TextDecoder, for UTF-8.
(function () {
  "use strict";
  const { apply } = Reflect;
  const { isView } = ArrayBuffer;
  const { fromCharCode, fromCodePoint } = String;
  const { charCodeAt, toLowerCase, toWellFormed, trim } = String.prototype;
  const { subarray, set } = Uint8Array.prototype;
  const [bytesOf, buffer, text, encode, toInteger] =
    [Uint8Array, ArrayBuffer, String, encodeURIComponent, parseInt];
  const [typeError, rangeError] = [TypeError, RangeError];

  globalThis.TextEncoder = class TextEncoder {
    get encoding() {
      return "utf-8";
    }

    encode(value = "") {
      const escaped = encode(apply(toWellFormed, text(value), []));
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
      return bytes.slice(0, length);
    }

    encodeInto(value, target) {
      let read = 0, written = 0;
      for (const character of apply(toWellFormed, text(value), [])) {
        const bytes = this.encode(character);
        if (written + bytes.length > target.length) {
          break;
        }
        apply(set, target, [bytes, written]);
        written += bytes.length;
        read += character.length;
      }
      return { read, written };
    }
  };

  globalThis.TextDecoder = class TextDecoder {
    #fatal;
    #keepsMark;
    #rest = [];
    #isAtStart = true;

    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      const name = apply(toLowerCase, apply(trim, text(label), []), []);
      if (!["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8"].includes(name)) {
        throw new rangeError(`TextDecoder knows utf-8, not ${text(label)}`);
      }
      this.#fatal = Boolean(fatal);
      this.#keepsMark = Boolean(ignoreBOM);
    }

    get encoding() {
      return "utf-8";
    }

    get fatal() {
      return this.#fatal;
    }

    get ignoreBOM() {
      return this.#keepsMark;
    }

    decode(data, { stream = false } = {}) {
      const bytes = [...this.#rest, ...viewOf(data)];
      const pieces = [];
      let at = 0;
      while (at < bytes.length) {
        const [code, size] = read(bytes, at);
        if (code === undefined && at + size === bytes.length && stream && size < 4) {
          break;
        }
        if ((code === undefined || code === null) && this.#fatal) {
          this.#restart();
          throw new typeError("The encoded data was not valid for encoding utf-8");
        }
        pieces.push(typeof code === "number" ? fromCodePoint(code) : "\ufffd");
        at += size;
      }
      this.#rest = bytes.slice(at);
      let found = pieces.join("");
      if (this.#isAtStart && !this.#keepsMark && found.startsWith("\ufeff")) {
        found = found.slice(1);
      }
      this.#isAtStart = this.#isAtStart && !pieces.length;
      if (!stream) {
        this.#restart();
      }
      return found;
    }

    #restart() {
      this.#rest = [];
      this.#isAtStart = true;
    }
  };

  function viewOf(data) {
    if (data === undefined) {
      return [];
    }
    if (data instanceof buffer) {
      return new bytesOf(data);
    }
    if (isView(data)) {
      return new bytesOf(data.buffer, data.byteOffset, data.byteLength);
    }
    throw new typeError("decode() takes an ArrayBuffer or a view of one");
  }

  // The character at a place and its size. Undefined: its beginning ends with the bytes; null: it is
  // none. The size is then that of the part that could begin one.
  function read(bytes, at) {
    const first = bytes[at];
    if (first < 0x80) {
      return [first, 1];
    }
    const size = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 :
      first >= 0xf0 && first < 0xf5 ? 4 : 0;
    if (!size) {
      return [null, 1];
    }
    let code = first & 0x7f >> size;
    for (let i = 1; i < size; i++) {
      if (at + i >= bytes.length) {
        return [undefined, i];
      }
      const next = bytes[at + i];
      const low = i > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      const high = i > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      if (next < low || next > high) {
        return [null, i];
      }
      code = code << 6 | next & 63;
    }
    return [code, size];
  }
})
