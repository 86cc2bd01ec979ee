// URL and URLSearchParams by the URL Standard (url.spec.whatwg.org). Host names beyond ASCII are an
// error: write them in Punycode.
(function () {
  "use strict";
  const { apply } = Reflect;
  const { test } = RegExp.prototype;
  const { iterator, toStringTag } = Symbol;
  const [text, encode, toInteger, typeError] =
    [String, encodeURIComponent, parseInt, TypeError];
  const PORTS = { __proto__: null, "http:": "80", "https:": "443", "ws:": "80", "wss:": "443",
    "ftp:": "21", "file:": "" };
  // What each part writes as %XX, beyond controls and all that is not ASCII.
  const FRAGMENT = / |"|<|>|`/;
  const QUERY = / |"|#|<|>/, SPECIAL_QUERY = / |"|#|<|>|'/;
  const PATH = / |"|#|<|>|\?|\^|`|\{|\}/;
  const USER = / |"|#|<|>|\?|\^|`|\{|\}|\/|:|;|=|@|\[|\\|\]|\|/;
  const FORBIDDEN_HOST = /[\0\t\n\r #\/:<>?@[\\\]^|]/;
  const FORBIDDEN_DOMAIN = /[\0-\x20"#%\/:<>?@[\\\]^`{|}\x7f]/;

  function invalid(input) {
    const error = new typeError("Invalid URL");
    error.code = "ERR_INVALID_URL";
    error.input = input;
    return error;
  }

  function percent(value, set) {
    let written = "";
    for (const character of value.toWellFormed()) {
      written += character > "~" ? encode(character) : character < " " || apply(test, set, [character]) ?
        "%" + character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0") : character;
    }
    return written.replace(/\x7f/g, "%7F");
  }

  function decoded(value) {
    return value.replace(/(?:%[0-9a-f]{2})+/gi, (escaped) => {
      try {
        return decodeURIComponent(escaped);
      } catch {
        return lenient(escaped);
      }
    });
  }

  // Bytes that are no UTF-8 become U+FFFD.
  function lenient(escaped) {
    let found = "", rest = escaped;
    while (rest) {
      let size = 0;
      for (let length = 12; length >= 3 && !size; length -= 3) {
        try {
          if (rest.length >= length && [...decodeURIComponent(rest.slice(0, length))].length === 1) {
            size = length;
          }
        } catch { /* It is no character. */ }
      }
      found += size ? decodeURIComponent(rest.slice(0, size)) : "\ufffd";
      rest = rest.slice(size || brokenSize(rest));
    }
    return found;
  }

  // The escapes that begin a character which does not go on are one error.
  function brokenSize(escaped) {
    const bytes = escaped.match(/[0-9a-f]{2}/gi).map((each) => toInteger(each, 16));
    const [first] = bytes;
    const length = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 :
      first >= 0xf0 && first < 0xf5 ? 4 : 1;
    let size = 1;
    while (size < length && size < bytes.length) {
      const low = size > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      const high = size > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      if (bytes[size] < low || bytes[size] > high) {
        break;
      }
      size++;
    }
    return size * 3;
  }

  function parsedHost(value, isSpecial, input) {
    if (value.startsWith("[")) {
      const address = value.endsWith("]") && ipv6(value.slice(1, -1));
      if (!address) {
        throw invalid(input);
      }
      return `[${address}]`;
    }
    if (!isSpecial) {
      if (apply(test, FORBIDDEN_HOST, [value])) {
        throw invalid(input);
      }
      return percent(value, /(?!)/);
    }
    const host = decoded(value).toLowerCase();
    if (/[^\0-\x7f]/.test(host)) {
      throw new typeError(`Invalid URL: the host ${host} is not ASCII; write it in Punycode`);
    }
    if (!host || apply(test, FORBIDDEN_DOMAIN, [host])) {
      throw invalid(input);
    }
    const labels = host.split(".");
    const last = labels.at(-1) || labels.at(-2) || "";
    return /^(\d+|0x[0-9a-f]*)$/.test(last) ? ipv4(host, input) : host;
  }

  function ipv4(host, input) {
    const labels = host.replace(/\.$/, "").split(".");
    const numbers = labels.map((label) => /^0x[0-9a-f]*$/.test(label) ?
      toInteger(label.slice(2) || "0", 16) : /^0[0-7]+$/.test(label) ? toInteger(label, 8) :
        /^(0|[1-9]\d*)$/.test(label) ? Number(label) : NaN);
    const last = numbers.pop();
    if (labels.length > 4 || !numbers.every((each) => each <= 255) ||
        !(last < 256 ** (4 - numbers.length))) {
      throw invalid(input);
    }
    const whole = numbers.reduce((sum, each, index) => sum + each * 256 ** (3 - index), last);
    return [24, 16, 8, 0].map((shift) => Math.floor(whole / 2 ** shift) % 256).join(".");
  }

  function ipv6(value) {
    const halves = value.split("::");
    const tail = /^(.*:)?(\d{1,3}(?:\.\d{1,3}){3})$/.exec(halves.at(-1));
    if (tail) {
      const bytes = tail[2].split(".").map(Number);
      if (bytes.some((each, i) => each > 255 || String(each) !== tail[2].split(".")[i])) {
        return "";
      }
      halves[halves.length - 1] = (tail[1] ?? "") +
        `${(bytes[0] * 256 + bytes[1]).toString(16)}:${(bytes[2] * 256 + bytes[3]).toString(16)}`;
    }
    const [head, end] = halves.map((half) => half ? half.split(":") : []);
    const missing = 8 - head.length - (end?.length ?? 0);
    if (halves.length > 2 || (end ? missing < 1 : missing !== 0)) {
      return "";
    }
    const words = [...head, ...Array(end ? missing : 0).fill("0"), ...end ?? []];
    if (!words.every((word) => /^[0-9a-f]{1,4}$/i.test(word))) {
      return "";
    }
    const plain = words.map((word) => toInteger(word, 16).toString(16));
    // The first longest run of zeros is left out.
    let best = [0, 1];
    for (let i = 0; i < 8; i++) {
      let size = 0;
      while (plain[i + size] === "0") {
        size++;
      }
      best = size > best[1] ? [i, size] : best;
    }
    return best[1] < 2 ? plain.join(":") :
      plain.slice(0, best[0]).join(":") + "::" + plain.slice(best[0] + best[1]).join(":");
  }

  function parsed(input, base) {
    const cleaned = input.toWellFormed().replace(/^[\0- ]+|[\0- ]+$/g, "").replace(/[\t\n\r]/g, "");
    const [, before, fragment] = /^([^#]*)(?:#(.*))?$/s.exec(cleaned);
    const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(before)?.[1].toLowerCase();
    const url = { scheme: "", user: "", password: "", host: null, port: "", path: [], opaque: null,
      query: null, fragment: fragment === undefined ? null : percent(fragment, FRAGMENT) };
    let rest = before;
    if (scheme !== undefined) {
      url.scheme = scheme + ":";
      rest = before.slice(scheme.length + 1);
      const isSpecial = url.scheme in PORTS;
      const isRelative = isSpecial && base?.scheme === url.scheme && !/^[/\\]/.test(rest) ||
        url.scheme === "file:" && base?.scheme === "file:";
      if (isRelative) {
        return relative(url, rest, base, input);
      }
      if (isSpecial) {
        if (url.scheme === "file:") {
          return absolute(url, /^[/\\]{2}/.test(rest) ? rest : "//" +
            (/^[/\\]/.test(rest) ? rest : "/" + rest), input);
        }
        return absolute(url, "//" + rest.replace(/^[/\\]*/, ""), input);
      }
      if (rest.startsWith("/")) {
        return absolute(url, rest, input);
      }
      const [, path, query] = /^([^?]*)(?:\?(.*))?$/s.exec(rest);
      url.opaque = percent(path, /(?!)/);
      url.query = query === undefined ? null : percent(query, QUERY);
      return url;
    }
    if (base === undefined || base.opaque !== null && rest !== "") {
      throw invalid(input);
    }
    if (base.opaque !== null) {
      if (url.fragment === null) {
        throw invalid(input);
      }
      return { ...base, fragment: url.fragment };
    }
    return relative({ ...url, scheme: base.scheme }, rest, base, input);
  }

  function relative(url, rest, base, input) {
    const isSpecial = url.scheme in PORTS;
    const slashes = isSpecial ? /^[/\\]{2}/ : /^\/\//;
    if (apply(test, slashes, [rest])) {
      return absolute(url, rest, input);
    }
    const { user, password, host, port } = base;
    Object.assign(url, { user, password, host, port });
    const [, path, query] = /^([^?]*)(?:\?(.*))?$/s.exec(rest);
    url.query = query === undefined ? path === "" ? base.query : null :
      percent(query, isSpecial ? SPECIAL_QUERY : QUERY);
    if (path === "") {
      url.path = [...base.path];
    } else {
      const isRooted = isSpecial ? /^[/\\]/.test(path) : path.startsWith("/");
      url.path = pathOf(isRooted ? path.slice(1) : path, isSpecial,
        isRooted ? [] : base.path.slice(0, -1));
    }
    return url;
  }

  // rest begins with // and an authority, or with / and a path.
  function absolute(url, rest, input) {
    const isSpecial = url.scheme in PORTS;
    const ends = isSpecial ? /^(?:[/\\]{2})([^/\\?]*)(.*)$/s : /^\/\/([^/?]*)(.*)$/s;
    const found = ends.exec(rest);
    if (found) {
      rest = found[2];
      authority(url, found[1], isSpecial, input);
    }
    const [, path, query] = /^([^?]*)(?:\?(.*))?$/s.exec(rest);
    url.query = query === undefined ? null : percent(query, isSpecial ? SPECIAL_QUERY : QUERY);
    url.path = path === "" && !isSpecial ? [] :
      pathOf(path.replace(isSpecial ? /^[/\\]/ : /^\//, ""), isSpecial, []);
    return url;
  }

  function authority(url, value, isSpecial, input) {
    const at = value.lastIndexOf("@");
    const place = value.slice(at + 1);
    if (at >= 0) {
      const [, user, password = ""] = /^([^:]*)(?::(.*))?$/s.exec(value.slice(0, at));
      [url.user, url.password] = [percent(user, USER), percent(password, USER)];
    }
    const [, host, port = ""] = /^((?:\[[^\]]*\]?|[^:])*)(?::(.*))?$/s.exec(place) ?? [];
    if (url.scheme === "file:") {
      if (at >= 0 || port) {
        throw invalid(input);
      }
      const name = place && parsedHost(place, true, input);
      url.host = name === "localhost" ? "" : name;
      return;
    }
    if (host === undefined || host === "" && (isSpecial || at >= 0 || port)) {
      throw invalid(input);
    }
    url.host = host && parsedHost(host, isSpecial, input);
    setPort(url, port, input);
  }

  function setPort(url, port, input) {
    if (!/^\d*$/.test(port) || Number(port) > 65535) {
      throw invalid(input);
    }
    const plain = port === "" ? "" : text(Number(port));
    url.port = plain === PORTS[url.scheme] ? "" : plain;
  }

  function pathOf(value, isSpecial, path) {
    const parts = value.split(isSpecial ? /[/\\]/ : "/");
    parts.forEach((part, index) => {
      const isLast = index === parts.length - 1;
      if (/^(\.|%2e){2}$/i.test(part)) {
        path.pop();
      } else if (!/^(\.|%2e)$/i.test(part)) {
        path.push(percent(part, PATH));
        return;
      }
      if (isLast) {
        path.push("");
      }
    });
    return path;
  }

  function pathText({ opaque, path }) {
    return opaque ?? path.map((part) => "/" + part).join("");
  }

  function written(url, hasFragment = true) {
    const { scheme, user, password, host, port, query, fragment, opaque, path } = url;
    let shown = scheme;
    if (host !== null) {
      const secret = password && ":" + password;
      shown += "//" + (user || password ? `${user}${secret}@` : "") + host + (port && ":" + port);
    } else if (opaque === null && path.length > 1 && path[0] === "") {
      shown += "/.";
    }
    return shown + pathText(url) + (query === null ? "" : "?" + query) +
      (fragment === null || !hasFragment ? "" : "#" + fragment);
  }

  function formText(value) {
    return encode(value.toWellFormed()).replace(/%20/g, "+")
      .replace(/[!'()~]/g, (each) => "%" + each.charCodeAt(0).toString(16).toUpperCase());
  }

  function formPairs(query) {
    return query.split("&").filter(Boolean).map((part) => {
      const at = part.indexOf("=");
      const pair = at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
      return pair.map((each) => decoded(each.replace(/\+/g, " ")));
    });
  }

  class URLSearchParams {
    #pairs = [];
    #changed = () => {};

    constructor(init = "", changed) {
      if (changed?.isOwn === OWN) {
        this.#changed = changed;
      }
      if (typeof init !== "object" || init === null) {
        this.#pairs = formPairs(text(init).replace(/^\?/, ""));
      } else if (typeof init[iterator] === "function") {
        this.#pairs = Array.from(init, (pair) => {
          const items = [...pair];
          if (items.length !== 2) {
            throw new typeError("Each query pair must be an iterable [name, value] tuple");
          }
          return items.map((each) => text(each).toWellFormed());
        });
      } else {
        this.#pairs = Object.entries(init)
          .map((pair) => pair.map((each) => text(each).toWellFormed()));
      }
    }

    get size() {
      return this.#pairs.length;
    }

    get [toStringTag]() {
      return "URLSearchParams";
    }

    append(name, value) {
      this.#pairs.push([text(name).toWellFormed(), text(value).toWellFormed()]);
      this.#changed(this);
    }

    delete(name, value) {
      this.#pairs = this.#pairs.filter(([key, item]) =>
        key !== text(name) || value !== undefined && item !== text(value));
      this.#changed(this);
    }

    get(name) {
      return this.#pairs.find(([key]) => key === text(name))?.[1] ?? null;
    }

    getAll(name) {
      return this.#pairs.filter(([key]) => key === text(name)).map(([, value]) => value);
    }

    has(name, value) {
      return this.#pairs.some(([key, item]) =>
        key === text(name) && (value === undefined || item === text(value)));
    }

    set(name, value) {
      const at = this.#pairs.findIndex(([key]) => key === text(name));
      if (at < 0) {
        this.append(name, value);
        return;
      }
      this.#pairs[at][1] = text(value).toWellFormed();
      this.#pairs = this.#pairs.filter(([key], index) => index <= at || key !== text(name));
      this.#changed(this);
    }

    sort() {
      this.#pairs.sort(([one], [other]) => one < other ? -1 : one > other ? 1 : 0);
      this.#changed(this);
    }

    forEach(callback, self) {
      for (const [name, value] of this) {
        apply(callback, self, [value, name, this]);
      }
    }

    * entries() {
      for (let i = 0; i < this.#pairs.length; i++) {
        yield [...this.#pairs[i]];
      }
    }

    * keys() {
      for (const [name] of this.entries()) {
        yield name;
      }
    }

    * values() {
      for (const [, value] of this.entries()) {
        yield value;
      }
    }

    [iterator]() {
      return this.entries();
    }

    toString() {
      return this.#pairs.map((pair) => pair.map(formText).join("=")).join("&");
    }
  }
  const OWN = {};

  class URL {
    #url;
    #params;

    constructor(url, base) {
      if (!arguments.length) {
        throw new typeError('The "url" argument must be specified');
      }
      this.#url = parsed(text(url), base === undefined ? undefined : parsed(text(base)));
    }

    static canParse(url, base) {
      return URL.parse(url, base) !== null;
    }

    static parse(url, base) {
      try {
        return new URL(url, base);
      } catch {
        return null;
      }
    }

    get [toStringTag]() {
      return "URL";
    }

    get href() {
      return written(this.#url);
    }

    set href(value) {
      this.#url = parsed(text(value));
      this.#params = undefined;
    }

    get origin() {
      const { scheme } = this.#url;
      return scheme in PORTS && scheme !== "file:" ? `${scheme}//${this.host}` : "null";
    }

    get protocol() {
      return this.#url.scheme;
    }

    set protocol(value) {
      const [scheme] = /^[a-z][a-z0-9+.-]*(?=:|$)/i.exec(text(value)) ?? [];
      const name = scheme?.toLowerCase() + ":";
      const isAlike = name in PORTS === this.#url.scheme in PORTS;
      if (scheme && isAlike && name !== "file:" && this.#url.scheme !== "file:") {
        this.#url.scheme = name;
        this.#url.port = this.#url.port === PORTS[name] ? "" : this.#url.port;
      }
    }

    get username() {
      return this.#url.user;
    }

    set username(value) {
      if (this.#url.host && this.#url.scheme !== "file:") {
        this.#url.user = percent(text(value), USER);
      }
    }

    get password() {
      return this.#url.password;
    }

    set password(value) {
      if (this.#url.host && this.#url.scheme !== "file:") {
        this.#url.password = percent(text(value), USER);
      }
    }

    get host() {
      return (this.#url.host ?? "") + (this.#url.port && ":" + this.#url.port);
    }

    set host(value) {
      this.#tryTo((url) => {
        const [, host, port] = /^((?:\[[^\]]*\]|[^:/\\?#])*)(?::(\d*))?/.exec(text(value));
        url.host = parsedHost(host, url.scheme in PORTS);
        if (port) {
          setPort(url, port);
        }
      });
    }

    get hostname() {
      return this.#url.host ?? "";
    }

    set hostname(value) {
      this.#tryTo((url) => {
        url.host = parsedHost(/^[^/\\?#]*/.exec(text(value))[0], url.scheme in PORTS);
      });
    }

    get port() {
      return this.#url.port;
    }

    set port(value) {
      const [digits] = /^\d*/.exec(text(value));
      if (this.#url.host && this.#url.scheme !== "file:" && (digits || text(value) === "")) {
        this.#tryTo((url) => setPort(url, digits));
      }
    }

    get pathname() {
      return pathText(this.#url);
    }

    set pathname(value) {
      if (this.#url.opaque === null) {
        const isSpecial = this.#url.scheme in PORTS;
        const path = text(value).replace(/[\t\n\r]/g, "");
        this.#url.path = pathOf(path.replace(isSpecial ? /^[/\\]/ : /^\//, ""), isSpecial, []);
      }
    }

    get search() {
      return this.#url.query ? "?" + this.#url.query : "";
    }

    set search(value) {
      const query = text(value).replace(/^\?/, "").replace(/[\t\n\r]/g, "");
      const set = this.#url.scheme in PORTS ? SPECIAL_QUERY : QUERY;
      this.#url.query = text(value) === "" ? null : percent(query, set);
      this.#params = undefined;
    }

    get searchParams() {
      const changed = (params) => {
        this.#url.query = text(params) || null;
      };
      changed.isOwn = OWN;
      return this.#params ??= new URLSearchParams(this.#url.query ?? "", changed);
    }

    get hash() {
      return this.#url.fragment ? "#" + this.#url.fragment : "";
    }

    set hash(value) {
      const fragment = text(value).replace(/^#/, "").replace(/[\t\n\r]/g, "");
      this.#url.fragment = text(value) === "" ? null : percent(fragment, FRAGMENT);
    }

    toString() {
      return this.href;
    }

    toJSON() {
      return this.href;
    }

    // A part that cannot be set stays as it is.
    #tryTo(change) {
      const changed = { ...this.#url };
      try {
        change(changed);
        this.#url = changed;
      } catch { /* As in the standard. */ }
    }
  }

  globalThis.URL = URL;
  globalThis.URLSearchParams = URLSearchParams;
})
