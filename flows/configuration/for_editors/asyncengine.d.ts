// What a JavaScript script of Async Engine finds, besides the language.

interface Message {
  correlationId: string;
  payload: any;
  /** What earlier steps have put beside them. */
  [name: string]: any;
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
  /** The same for all redeliveries of a step, to make effects outside idempotent. */
  readonly deliveryId: string;
  readonly delivery_id: string;
  readonly http: Http;
  /** The secrets of the script, by name. Reading another name throws. */
  readonly secrets: { readonly [name: string]: string };
  /** The last value may be the level: debug, info, warning, error or critical, or {level}. */
  log(...values: unknown[]): void;
}

interface HttpOptions {
  headers?: { [name: string]: string | number | boolean | bigint | null | undefined };
  params?: { [name: string]: HttpParameter | HttpParameter[] };
  /** Seconds for the whole request. */
  timeout?: number | null;
  /** Whether the body is bytes in base64. */
  base64?: boolean;
}

type HttpParameter = string | number | boolean | bigint | null | undefined;

interface HttpResponse {
  readonly status: number;
  readonly ok: boolean;
  /** By name in lower case. */
  readonly headers: { readonly [name: string]: string };
  readonly setCookies: string[];
  /** The text of the body. Reading it throws if the body is not text. */
  readonly body: string;
  /** The bytes of the body, if it is not text in UTF-8. */
  readonly base64?: string;
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
  response?: HttpResponse;
}

interface Http {
  get(url: string, options?: HttpOptions): Promise<HttpResponse>;
  head(url: string, options?: HttpOptions): Promise<HttpResponse>;
  post(url: string, body?: unknown, options?: HttpOptions): Promise<HttpResponse>;
  put(url: string, body?: unknown, options?: HttpOptions): Promise<HttpResponse>;
  patch(url: string, body?: unknown, options?: HttpOptions): Promise<HttpResponse>;
  delete(url: string, options?: HttpOptions): Promise<HttpResponse>;
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

/** Ask for another delivery of the message after this number of seconds. Throws. */
declare function retry(
  after?: number | bigint | string | { after?: number | bigint | string; reason?: unknown } | null,
  reason?: unknown,
): never;

/** Send the message to the dead letters. Throws. */
declare function reject(reason?: unknown): never;

declare function log(...values: unknown[]): void;
declare const ftos: { logging: { log: typeof log } };
declare const console: {
  log(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
};
