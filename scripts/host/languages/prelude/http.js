// http and context.http: requests that the worker makes, several at once where the script starts
// them so.
(function (shared, context) {
  "use strict";
  const { parse } = JSON;
  const { defineProperty, keys } = Object;
  const { apply } = Reflect;
  const { isArray } = Array;
  const { toString } = Object.prototype;
  const { includes, indexOf, slice, split, toLowerCase, toUpperCase } = String.prototype;
  const [text, error, typeError] = [String, Error, TypeError];
  const [promise, encode] = [Promise, encodeURIComponent];
  const waiting = {};
  let last = 0;

  context.http = globalThis.http = {
    get: (url, options) => request("GET", url, undefined, options),
    head: (url, options) => request("HEAD", url, undefined, options),
    post: (url, body, options) => request("POST", url, body, options),
    put: (url, body, options) => request("PUT", url, body, options),
    patch: (url, body, options) => request("PATCH", url, body, options),
    delete: (url, options) => request("DELETE", url, undefined, options),
    request,
  };

  // Options: headers, params for the query, timeout in seconds for the whole request, and base64,
  // true where the body is bytes written so.
  function request(method, url, body, options) {
    // Made now: when the reply comes, the stack no longer shows the line of the request.
    const refused = new error("");
    return new promise((resolve, fail) => {
      shared.stopIfDecided();
      method = apply(toUpperCase, text(method), []);
      const { headers, params, timeout, base64 } = checkedOptions(options);
      const sent = { method, url: withParams(text(url), params), headers: {}, body: null, timeout };
      let hasType = false;
      for (const [name, value] of members("headers", headers)) {
        sent.headers[name] = value;
        hasType ||= apply(toLowerCase, name, []) === "content-type";
      }
      if (base64) {
        if (typeof body !== "string") {
          throw new typeError("the body of a request with base64 must be a text in that writing");
        }
        sent.base64 = body;
        if (!hasType) {
          sent.headers["Content-Type"] = "application/octet-stream";
        }
      } else if (body !== undefined && body !== null) {
        const isText = typeof body === "string";
        sent.body = isText ? body : shared.copied(body, "body");
        if (!hasType) {
          sent.headers["Content-Type"] =
            isText ? "text/plain; charset=utf-8" : "application/json";
        }
      }
      waiting[++last] = { method, resolve, fail, refused };
      const { requests } = shared;
      shared.hasNews = true;
      requests[requests.length] = [last, sent];
    });
  }

  // Otherwise a misspelt option would be ignored.
  function checkedOptions(options) {
    for (const name of options === undefined || options === null ? [] : names("options", options)) {
      switch (name) {
        case "headers": case "params": case "timeout": case "base64":
          continue;
      }
      throw new typeError(`a request takes headers, params, timeout and base64, not ${name}`);
    }
    const { timeout } = options ?? {};
    if (timeout !== undefined && timeout !== null && !(timeout > 0 && timeout - timeout === 0)) {
      throw new typeError("timeout must be a number of seconds above 0");
    }
    return options ?? {};
  }

  function names(what, given) {
    if (apply(toString, given, []) !== "[object Object]") {
      throw new typeError(`${what} must be an object`);
    }
    return keys(given);
  }

  // Undefined and null ones are left out. In params an array gives one for each item.
  function members(what, given) {
    const found = [];
    for (const name of given === undefined || given === null ? [] : names(what, given)) {
      const isList = what === "params" && isArray(given[name]);
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
      throw new typeError(`${place} must be a text, a number or a boolean`);
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

  shared.settle = function (number, answer, makeNumerals) {
    const { method, resolve, fail, refused } = waiting[number];
    delete waiting[number];
    const reply = parse(answer);
    if (reply.error !== undefined) {
      return fail(httpError(refused, reply.error, reply.kind));
    }
    const { status, body, url, retryAfter, base64, noText } = reply;
    const headers = {};
    for (const name of keys(reply.headers)) {
      headers[apply(toLowerCase, name, [])] = reply.headers[name];
    }
    const response = { status, ok: status >= 200 && status < 300, headers, body, url, retryAfter };
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
        const refused = httpError(new error(""), said, "status");
        refused.response = response;
        if (retryAfter !== undefined) {
          shared.throttled[shared.throttled.length] = { refused, retryAfter };
        }
        throw refused;
      }
      return response;
    } });
    return resolve(response);
  };

  function httpError(refused, message, kind) {
    refused.message = message;
    refused.name = "HttpError";
    refused.kind = kind;
    return refused;
  }
})
