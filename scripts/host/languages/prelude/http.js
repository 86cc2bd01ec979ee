// http and context.http: requests that the worker makes, several at once where the script starts
// them so.
(function (shared, context) {
  "use strict";
  const { parse, stringify } = JSON;
  const { create, defineProperty, hasOwn, keys } = Object;
  const { apply } = Reflect;
  const { isArray } = Array;
  const { includes: isAmong, join } = Array.prototype;
  const { toString } = Object.prototype;
  const { taking, wrong } = shared;
  const { charCodeAt, includes, indexOf, replace, slice, split } = String.prototype;
  const { toLowerCase, toUpperCase, toWellFormed, trim } = String.prototype;
  const [text, error, typeError, toInteger] = [String, Error, TypeError, parseInt];
  const [promise, encode] = [Promise, encodeURIComponent];
  // Only there where the code names typed arrays.
  const { ArrayBuffer: buffer, Uint8Array: byteArray } = globalThis;
  const toBase64 = byteArray?.prototype.toBase64, fromBase64 = byteArray?.fromBase64;
  const MAX_EXCERPT = 200;
  // As JSON.stringify writes it: behind as many backslashes as make pairs.
  const LONE_SURROGATE = /(?<!\\)(\\\\)*\\ud[89a-f]/;
  const { test } = RegExp.prototype;
  const OPTIONS = ["headers", "params", "timeout", "base64", "form", "files", "auth", "ca", "cert"];
  // Members that no body has alone.
  const NO_BODY = ["json", ...OPTIONS];
  const waiting = {};
  let last = 0;

  context.http = globalThis.http = {
    get: bare("get"), head: bare("head"), delete: bare("delete"),
    post: withBody("post"), put: withBody("put"), patch: withBody("patch"),
    all: taking("http.all", ["requests"], (requests) => shared.answer("http.all()",
      promise.all(listed("http.all()", requests).map(requested)), ["length", "map", 0])),
    request: taking("http.request", ["method", "url", "body", "options"],
      (method, url, body, options) => {
        requireBody("http.request(method, url, ", body, options);
        return request(method, url, body, options);
      }),
  };

  function bare(name) {
    return taking(`http.${name}`, ["url", "options"], (url, options) =>
      request(name, url, undefined, options));
  }

  function withBody(name) {
    return taking(`http.${name}`, ["url", "body", "options"], (url, body, options) => {
      requireBody(`http.${name}(url, `, body, options);
      return request(name, url, body, options);
    });
  }

  // Options in the place of the body would be sent as JSON.
  function requireBody(call, body, options) {
    const isObject = options === undefined && apply(toString, body, []) === "[object Object]";
    const given = isObject ? keys(body) : [];
    if (given.length && given.every((name) => apply(isAmong, NO_BODY, [name]))) {
      const isValue = apply(isAmong, given, ["json"]);
      throw wrong(new typeError(`${call}body, options) was given ${apply(join, given, [", "])} as the body: ` +
        `write ${call}${isValue ? "value" : "null"}, { … }); for such a body give {} as options`));
    }
  }

  // Of http.all: a URL, or url, method, body and the options of a request.
  function requested(given) {
    if (typeof given === "string") {
      return request("GET", given);
    }
    names("each request", given);
    const { url, method = "GET", body, ...options } = given;
    return request(method, url, body, options);
  }

  // Options: headers, params for the query, timeout in seconds for the whole request, base64, true
  // where the body is bytes written so, form and files, auth, and ca and cert, names of secrets.
  function request(method, url, body, options) {
    // Made now: when the reply comes, the stack no longer shows the line of the request.
    const refused = new error("");
    return shared.answer("A request of http", new promise((resolve, fail) => {
      shared.stopIfDecided();
      method = apply(toUpperCase, text(method), []);
      if (url === undefined || url === null) {
        throw wrong(new typeError(`a request takes a url, not ${url}`));
      }
      const { headers, params, timeout, auth, ca, cert, ...rest } = checkedOptions(options);
      const sent = {
        method, url: withParams(text(url), params), headers: {}, body: null, timeout,
        auth: auth ?? undefined, ca: ca ?? undefined, cert: cert ?? undefined,
      };
      for (const [name, value] of members("headers", headers)) {
        sent.headers[name] = value;
      }
      try {
        addBody(sent, body, rest);
      } catch (error) {
        throw shared.isTooLarge(error) ? httpError(refused, shared.tooLarge, "too-large") : error;
      }
      const written = stringify(sent);
      if (written.length > shared.maxSent) {
        throw httpError(refused, shared.tooLarge, "too-large");
      }
      // The pattern needs much memory for very many backslashes in a row.
      if (apply(includes, written, ["\\ud"]) && apply(test, LONE_SURROGATE, [written])) {
        throw wrong(new typeError("a request holds a lone surrogate, which is not a character"));
      }
      waiting[++last] = { method, resolve, fail, refused };
      const { requests } = shared;
      shared.hasNews = true;
      requests[requests.length] = [last, sent];
    }), ["status", "ok", "headers", "body", "data", "raiseForStatus"]);
  }

  function addBody(sent, body, { base64, form, files }) {
    const isForm = form !== undefined && form !== null || files !== undefined && files !== null;
    if (isForm && body !== undefined && body !== null) {
      throw wrong(new typeError("a request has a body, or form and files"));
    }
    if (isForm) {
      sent.form = members("form", form);
      sent.files = fileParts(files);
    } else if (base64) {
      if (typeof body !== "string") {
        throw wrong(new typeError("the body of a request with base64 must be a text in that writing"));
      }
      sent.base64 = body;
      addType(sent, "application/octet-stream");
    } else if (isBytes(body)) {
      sent.base64 = bytesText(body);
      addType(sent, "application/octet-stream");
    } else if (body !== undefined && body !== null) {
      const isText = typeof body === "string";
      sent.body = isText ? body : shared.copied(body, "body", shared.maxSent);
      addType(sent, isText ? "text/plain; charset=utf-8" : "application/json");
    }
  }

  function addType({ headers }, type) {
    if (!keys(headers).some((name) => apply(toLowerCase, name, []) === "content-type")) {
      headers["Content-Type"] = type;
    }
  }

  // Each file is its content, or {name, content, type}; the content is a text or bytes.
  function fileParts(files) {
    const parts = [];
    for (const name of files === undefined || files === null ? [] : names("files", files)) {
      const file = files[name];
      if (file === undefined || file === null) {
        continue;
      }
      // What is no object is refused below.
      const isBare = typeof file !== "object" || isBytes(file);
      const { name: filename = name, content, type = null } = isBare ? { content: file } :
        shared.optionsOf(`files.${name}`, file, ["name", "content", "type"]);
      if (typeof content !== "string" && !isBytes(content)) {
        throw wrong(new typeError(`files.${name} must be a text, bytes or {name, content, type}`));
      }
      parts[parts.length] = [name, text(filename), type, bytesText(content)];
    }
    return parts;
  }

  function isBytes(value) {
    return buffer !== undefined && (value instanceof buffer || buffer.isView(value));
  }

  function bytesText(value) {
    if (typeof value === "string") {
      return base64Of(value);
    }
    const bytes = value instanceof buffer ? new byteArray(value) :
      new byteArray(value.buffer, value.byteOffset, value.byteLength);
    return apply(toBase64, bytes, []);
  }

  // The bytes of a text in UTF-8, without typed arrays.
  function base64Of(value) {
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const escaped = encode(apply(toWellFormed, value, []));
    const codes = [];
    for (let i = 0; i < escaped.length; i++) {
      const isEscape = escaped[i] === "%";
      codes[codes.length] = isEscape ? toInteger(apply(slice, escaped, [i + 1, i + 3]), 16) :
        apply(charCodeAt, escaped, [i]);
      i += isEscape ? 2 : 0;
    }
    let written = "";
    for (let i = 0; i < codes.length; i += 3) {
      const bits = codes[i] << 16 | (codes[i + 1] ?? 0) << 8 | (codes[i + 2] ?? 0);
      written += letters[bits >> 18] + letters[bits >> 12 & 63] +
        (i + 1 < codes.length ? letters[bits >> 6 & 63] : "=") +
        (i + 2 < codes.length ? letters[bits & 63] : "=");
    }
    return written;
  }

  function checkedOptions(options) {
    const given = shared.optionsOf("a request", options, OPTIONS);
    const { timeout } = given;
    if (timeout !== undefined && timeout !== null &&
        !(typeof timeout === "number" && timeout > 0 && timeout - timeout === 0)) {
      throw wrong(new typeError("timeout must be a number of seconds above 0"));
    }
    return given;
  }

  function names(what, given) {
    if (apply(toString, given, []) !== "[object Object]") {
      throw wrong(new typeError(`${what} must be an object`));
    }
    return keys(given);
  }

  function listed(what, given) {
    if (!isArray(given)) {
      throw wrong(new typeError(`${what} takes an array`));
    }
    return given;
  }

  // Undefined and null ones are left out. In params and form an array gives one for each item, and
  // pairs of name and value may stand in an array.
  function members(what, given) {
    const found = [];
    if (isArray(given) && what !== "headers") {
      return given.flatMap((pair) => {
        if (!isArray(pair) || pair.length !== 2) {
          throw wrong(new typeError(`${what} takes an object, or pairs of name and value`));
        }
        return members(what, { [pair[0]]: pair[1] });
      });
    }
    for (const name of given === undefined || given === null ? [] : names(what, given)) {
      const isList = what !== "headers" && isArray(given[name]);
      const values = isList ? given[name] : [given[name]];
      for (let i = 0; i < values.length; i++) {
        if (values[i] !== undefined && values[i] !== null) {
          found[found.length] = [name, plainText(`${what}.${name}`, values[i])];
        }
      }
    }
    return found;
  }

  function plainText(place, value) {
    const kind = typeof value;
    const isPlain = kind === "string" || kind === "boolean" || kind === "bigint" ||
      kind === "number" && value - value === 0;
    if (!isPlain) {
      throw wrong(new typeError(`${place} must be a text, a number or a boolean`));
    }
    return text(value);
  }

  // Parameters stand before a fragment.
  function withParams(url, params) {
    const at = apply(indexOf, url, ["#"]);
    const fragment = at < 0 ? "" : apply(slice, url, [at]);
    let target = at < 0 ? url : apply(slice, url, [0, at]);
    let mark = apply(includes, target, ["?"]) ? "&" : "?";
    for (const [name, value] of members("params", params)) {
      target += mark + encode(name) + "=" + encode(value);
      mark = "&";
    }
    return target + fragment;
  }

  // What answers of others have, and of Python: reading it would give nothing without a word.
  let elsewhere;
  const ELSEWHERE = {
    text: "body", json: "data", content: "bytes", arrayBuffer: "bytes", blob: "bytes",
    statusCode: "status", statusText: "status", status_code: "status", cookies: "setCookies",
    raise_for_status: "raiseForStatus()", retry_after: "retryAfter",
  };

  function refusals() {
    const made = {};
    for (const name of keys(ELSEWHERE)) {
      defineProperty(made, name, { configurable: true, get() {
        throw wrong(new typeError(`an answer has no ${name}: use ${ELSEWHERE[name]}`));
      } });
    }
    return made;
  }

  shared.settle = function (number, answer, makeNumerals) {
    const { method, resolve, fail, refused } = waiting[number];
    delete waiting[number];
    const reply = parse(answer);
    if (reply.error !== undefined) {
      return fail(httpError(refused, reply.error, reply.kind));
    }
    const { status, body, url, retryAfter, base64, noText } = reply;
    const headers = headersOf(reply.headers);
    elsewhere ??= refusals();
    const response = { __proto__: elsewhere, status, ok: status >= 200 && status < 300, headers, body, url, retryAfter };
    const cookies = headers["set-cookie"];
    response.setCookies = cookies === undefined ? [] : apply(split, cookies, ["\n"]);
    if (base64 !== undefined) {
      response.base64 = base64;
    }
    if (noText !== undefined) {
      // Reading it as text is an error; its bytes are there.
      defineProperty(response, "body", { get() {
        const place = apply(split, url, ["?"])[0];
        const said = `The body of ${place} is no text: ${noText}. Its bytes are in base64.`;
        throw httpError(new error(""), said, "encoding");
      } });
    }
    defineProperty(response, "bytes", { get() {
      if (byteArray === undefined) {
        throw wrong(new typeError("the bytes are in bytes: the script must name it"));
      }
      return fromBase64(base64 ?? base64Of(body));
    } });
    try {
      response.data = noText === undefined ? shared.read(body, makeNumerals) : undefined;
    } catch {
      response.data = undefined;
    }
    // A 429 or 503 with a Retry-After leads to a redelivery, unless the script catches it.
    defineProperty(response, "raiseForStatus", { value() {
      if (status >= 400) {
        const place = apply(split, url, ["?"])[0];
        const said = `${method} ${place} was answered with ${status}`;
        const refused = httpError(new error(""), said + excerpt(body ?? ""), "status");
        refused.response = response;
        refused.status = status;
        if (retryAfter !== undefined) {
          shared.note(shared.throttled, { refused, retryAfter });
        }
        throw refused;
      }
      return response;
    } });
    return resolve(response);
  };

  // By name in lower case; `get`, which is none of them, takes any case.
  function headersOf(given) {
    const inherited = {};
    const headers = create(inherited);
    for (const name of keys(given)) {
      headers[apply(toLowerCase, name, [])] = given[name];
    }
    defineProperty(inherited, "get", { value: taking("headers.get", ["name"], (name) => {
      const known = apply(toLowerCase, text(name), []);
      return hasOwn(headers, known) ? headers[known] : undefined;
    }) });
    return headers;
  }

  // The beginning of the body, in one line.
  function excerpt(body) {
    const start = apply(slice, body, [0, 4 * MAX_EXCERPT]);
    const line = apply(trim, apply(replace, start, [/\s+/g, " "]), []);
    const more = line.length > MAX_EXCERPT ? "…" : "";
    return line && `: ${apply(slice, line, [0, MAX_EXCERPT])}${more}`;
  }

  function httpError(refused, message, kind) {
    refused.message = message;
    refused.name = "HttpError";
    refused.kind = kind;
    return refused;
  }
})
