// What a JavaScript script of Async Engine finds, besides the language.

interface Message {
  correlationId: string;
  payload: any;
  /** What earlier steps have put beside them. */
  [name: string]: any;
}

/** debug, info, warning, error or critical. */
type LogOptions = string | { level?: string };

interface Context {
  /** The message, for the script to read and to change. */
  Data: Message;
  readonly correlationId: string;
  readonly correlation_id: string;
  readonly flow: string;
  readonly step: string;
  readonly queue: string;
  /** From 1 on. */
  readonly attempt: number;
  /** The same over redeliveries of a step: it makes effects outside idempotent. */
  readonly deliveryId: string;
  readonly delivery_id: string;
  readonly http: Http;
  /** Those that the script was given. Reading one that is not there throws. */
  readonly secrets: { readonly [name: string]: string };
  log(text: unknown, options?: LogOptions): void;
}

interface HttpOptions {
  headers?: { [name: string]: string | number | boolean | bigint | null | undefined };
  params?: { [name: string]: HttpParameter | HttpParameter[] };
  /** Seconds, for the whole of the request. */
  timeout?: number | null;
  /** Whether the body is bytes, written in base64. */
  base64?: boolean;
}

type HttpParameter = string | number | boolean | bigint | null | undefined;

interface HttpResponse {
  readonly status: number;
  readonly ok: boolean;
  /** With their names in small letters. */
  readonly headers: { readonly [name: string]: string };
  readonly setCookies: string[];
  /** The text of the body. Reading it throws where the body is no text. */
  readonly body: string;
  /** The bytes of the body, where it is something else than text in UTF-8. */
  readonly base64?: string;
  /** What the body says, where it is JSON. */
  readonly data: any;
  /** Where redirects led to. */
  readonly url: string;
  /** Seconds, where the server says so. */
  readonly retryAfter?: number;
  /** Throws an HttpError for a status from 400 on. */
  raiseForStatus(): HttpResponse;
}

interface HttpError extends Error {
  name: "HttpError";
  /** What happened, in a word; "status" for a status. */
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

/** Give the script's output, which is copied at once. The last call counts. */
declare function setData(output: unknown): void;

/** Have the message delivered again, after so many seconds. Throws. */
declare function retry(
  after?: number | bigint | string | { after?: number | bigint | string; reason?: unknown } | null,
  reason?: unknown,
): never;

/** Send the message to the dead letters. Throws. */
declare function reject(reason?: unknown): never;

declare function log(text: unknown, options?: LogOptions): void;
declare const ftos: { logging: { log: typeof log } };
declare const console: {
  log(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
};
