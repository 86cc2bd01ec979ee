// What a JavaScript script of Async Engine finds, besides the language.

interface Message {
  correlationId: string;
  payload: any;
  /** What earlier steps have put beside them. */
  [name: string]: any;
}

interface StartOptions {
  /** The same key starts one run of the flow a day. */
  key?: string;
  /** 0 to 9. */
  priority?: number;
  startAt?: Date | string;
  /** The run is found by them; those of the own run are not inherited. */
  labels?: { [key: string]: string };
  /** A time, or seconds from now: the run is cancelled if it has not ended by then. */
  deadline?: Date | string | number;
}

interface Context {
  /** The message. The script may read and change it. */
  Data: Message;
  readonly correlationId: string;
  readonly correlation_id: string;
  readonly flow: string;
  readonly step: string;
  readonly queue: string;
  /** From 1 on. */
  readonly attempt: number;
  /** How often the script has waited with this message, for how long, and what it left then. */
  readonly waits: number;
  readonly waitedSeconds: number;
  readonly waitState: any;
  /** The same for all redeliveries of a step, to make effects outside idempotent. */
  readonly deliveryId: string;
  readonly delivery_id: string;
  readonly http: Http;
  /** The values of the installation, by name. Reading another name throws. */
  readonly config: { readonly [name: string]: string };
  /** The secrets of the script, by name. Reading another name throws. */
  readonly secrets: { readonly [name: string]: string };
  /** A reference table that the script lists; throws for another. */
  table(name: string): Table;
  /** The value that the hosts of this script share for so long, made where there is none. */
  cached<T>(key: string, seconds: number, make: () => T | Promise<T>): Promise<T>;
  /** What the messages of this flow leave for each other, stored with the step. */
  readonly state: FlowState;
  /** Sign with the private key in a secret: RS256, PS256, ES256, EdDSA … The signature in base64. */
  sign(
    algorithm: string,
    secret: string,
    data: HttpContent,
    options?: { der?: boolean },
  ): Promise<string>;
  /** Whether a signature, in base64 or bytes, fits the key in a secret, or a public key. */
  verify(
    algorithm: string,
    secret: string | null,
    data: HttpContent,
    signature: HttpContent,
    options?: { publicKey?: string | object },
  ): Promise<boolean>;
  /** A signed token. With `expires`, in seconds from now, it gets iat and exp. */
  jwt(
    claims: object,
    secret: string,
    options?: { algorithm?: string; headers?: object; expires?: number },
  ): Promise<string>;
  /** The claims of a token that is valid now; throws an error with a `kind` for any other. */
  verifyJwt(token: string, secret?: string | null, options?: JwtOptions): Promise<any>;
  verify_jwt(token: string, secret?: string | null, options?: JwtOptions): Promise<any>;
  /** The last value may be the level: debug, info, warning, error or critical, or {level}. */
  log(...values: unknown[]): void;
  /** End the run, or its branch, with this output as result. The last call counts. */
  finish(output?: unknown): void;
  /** Start a run of another flow with the output of this message; the id of the run. */
  start(flow: string, payload?: object, options?: StartOptions): Promise<string>;
  /** Send the output, or that of setData(), on at a later step. The last call counts. */
  go(step: string, output?: unknown): void;
  /** How far the script is, seen while it runs, once a second. The last value counts. */
  progress(done: number | bigint, total?: number | bigint | null, text?: unknown): void;
}

/** Values are any JSON of up to 64 kB. `expires`: after so many seconds. */
interface FlowState {
  /** The value, or the other one (null unless given) where there is none or it has expired. */
  get(key: string, otherwise?: any): Promise<any>;
  set(key: string, value: unknown, options?: { expires?: number | null }): Promise<void>;
  /** Add to a number, together with what others add. `expires` counts where the key is new. */
  increment(
    key: string,
    by?: number | bigint | { expires?: number | null },
    options?: { expires?: number | null },
  ): Promise<void>;
  delete(key: string): Promise<void>;
}

interface Table extends Iterable<[string, any]> {
  readonly name: string;
  readonly size: number;
  /** Of a CSV file; null for JSON. */
  readonly columns: readonly string[] | null;
  /** The row of a key, of a CSV file an object of texts; the other value where there is none. */
  get(key: string | number | bigint, otherwise?: any): any;
  has(key: string | number | bigint): boolean;
  keys(): Iterable<string>;
  entries(): Iterable<[string, any]>;
  /** The row of a key, an error where there is none. `key in table` tells. */
  readonly [key: string]: any;
}

interface JwtOptions {
  /** PEM, a JWK or a set of JWKs. */
  publicKey?: string | object;
  /** Without it those that the key is for. */
  algorithms?: string | string[];
  audience?: string | string[];
  issuer?: string | string[];
  /** Seconds. */
  leeway?: number;
}

interface HttpOptions {
  headers?: { [name: string]: string | number | boolean | bigint | null | undefined };
  params?: HttpFields;
  /** Fields of a form; with files its parts. */
  form?: HttpFields;
  files?: { [name: string]: HttpContent | HttpFile | null | undefined };
  /** A token, or a user and a password. */
  auth?: string | [user: string, password: string] | null;
  /** The name of a secret: the authority of the server, in PEM. */
  ca?: string | null;
  /** The name of a secret: the script's certificate with its key, in PEM. */
  cert?: string | null;
  /** Seconds for the whole request. */
  timeout?: number | null;
  /** Whether the body is bytes in base64. */
  base64?: boolean;
}

type HttpFields =
  | { [name: string]: HttpParameter | HttpParameter[] }
  | [name: string, value: HttpParameter | HttpParameter[]][];
type HttpContent = string | ArrayBuffer | ArrayBufferView;
interface HttpFile { name?: string; content: HttpContent; type?: string | null }
interface HttpRequest extends HttpOptions { url: string; method?: string; body?: unknown }

type HttpParameter = string | number | boolean | bigint | null | undefined;

interface HttpResponse {
  readonly status: number;
  readonly ok: boolean;
  /** By name in lower case; `get` takes a name in any case. */
  readonly headers: { readonly [name: string]: string } & {
    get(name: string): string | undefined;
  };
  readonly setCookies: string[];
  /** The text of the body. Reading it throws if the body is not text. */
  readonly body: string;
  /** The bytes of the body, if it is not text in UTF-8. */
  readonly base64?: string;
  /** The bytes of the body. */
  readonly bytes: Uint8Array;
  /** The value of the body, if it is JSON. */
  readonly data: any;
  /** The URL after redirects. */
  readonly url: string;
  /** Seconds, if the server sends them. */
  readonly retryAfter?: number;
  /** Throws an HttpError for a status from 400 on. */
  raiseForStatus(): HttpResponse;
}

interface HttpError extends Error {
  name: "HttpError";
  /** The kind of failure; "status" for a status from 400 on. */
  kind: string;
  status?: number;
  response?: HttpResponse;
}

interface Http {
  get(url: string, options?: HttpOptions): Promise<HttpResponse>;
  head(url: string, options?: HttpOptions): Promise<HttpResponse>;
  post(url: string, body?: unknown, options?: HttpOptions): Promise<HttpResponse>;
  put(url: string, body?: unknown, options?: HttpOptions): Promise<HttpResponse>;
  patch(url: string, body?: unknown, options?: HttpOptions): Promise<HttpResponse>;
  delete(url: string, options?: HttpOptions): Promise<HttpResponse>;
  /** Several requests at once: URLs, or url, method, body and options. */
  all(requests: (string | HttpRequest)[]): Promise<HttpResponse[]>;
  request(
    method: string,
    url: string,
    body?: unknown,
    options?: HttpOptions,
  ): Promise<HttpResponse>;
}

declare const context: Context;
declare const http: Http;

/** Set the script's output, which is copied at once. The last call counts. */
declare function setData(output: unknown): void;

/** When the message comes again: seconds from now, or a time with its zone. */
type After = number | bigint | string | Date;

/** Ask for another delivery of the message after this time. Throws. */
declare function retry(
  after?: After | { after?: After; reason?: unknown } | null,
  reason?: unknown,
): never;

/**
 * Wait for something, which is no failure: the message is delivered again, and no delivery is used
 * up. The next attempt finds the state in context.waitState. Throws.
 */
declare function wait(
  after?: After | { after?: After; reason?: unknown; state?: unknown } | null,
  reason?: unknown,
  state?: unknown,
): never;

/** Send the message to the dead letters. Throws. */
declare function reject(
  reason?: unknown,
  options?: { code?: string | number; details?: unknown },
): never;

declare function log(...values: unknown[]): void;
declare const ftos: { logging: { log: typeof log } };
declare const console: {
  log(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
};

interface Zoned {
  year: number;
  /** From 1 on. */
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  millisecond: number;
  /** 1 is Monday. */
  weekday: number;
  offsetMinutes: number;
  timeZone: string;
  /** 2026-12-31 */
  date: string;
  /** 23:59:00 */
  time: string;
  /** 2026-12-31T23:59:00+01:00 */
  text: string;
}

/** The date and time at a place, for example zoned(new Date(), "Europe/Berlin").date. */
declare const zoned: {
  (instant: Date | number | string, timeZone: string): Zoned;
  /** The instant of a time at a place, such as 2026-12-31T23:59. */
  instant(local: string, timeZone: string): Date;
};

interface Digest {
  update(data: string | ArrayBuffer | ArrayBufferView, encoding?: string): Digest;
  digest(): Uint8Array;
  digest(encoding: "hex" | "base64" | "base64url"): string;
}
declare const crypto: {
  createHash(name: string): Digest;
  createHmac(name: string, key: string | ArrayBuffer | ArrayBufferView): Digest;
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  randomUUID(): string;
  timingSafeEqual(one: ArrayBuffer | ArrayBufferView, other: ArrayBuffer | ArrayBufferView): boolean;
  subtle: {
    digest(name: string | { name: string }, data: ArrayBuffer | ArrayBufferView): Promise<ArrayBuffer>;
  };
};
declare function structuredClone<T>(value: T): T;

declare class TextEncoder {
  readonly encoding: string;
  encode(value?: string): Uint8Array;
  encodeInto(value: string, target: Uint8Array): { read: number; written: number };
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(data?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}

declare class URLSearchParams {
  constructor(init?: string | { [name: string]: unknown } | Iterable<[string, unknown]>);
  readonly size: number;
  append(name: string, value: unknown): void;
  delete(name: string, value?: unknown): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: unknown): boolean;
  set(name: string, value: unknown): void;
  sort(): void;
  forEach(callback: (value: string, name: string, all: URLSearchParams) => void): void;
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
  toString(): string;
}
declare class URL {
  constructor(url: string | URL, base?: string | URL);
  static canParse(url: string, base?: string): boolean;
  static parse(url: string, base?: string): URL | null;
  href: string;
  readonly origin: string;
  protocol: string;
  username: string;
  password: string;
  host: string;
  hostname: string;
  port: string;
  pathname: string;
  search: string;
  readonly searchParams: URLSearchParams;
  hash: string;
  toString(): string;
  toJSON(): string;
}

/** Day.js 1.11 with its plug-ins utc and customParseFormat; local time is UTC. */
declare const dayjs: any;
