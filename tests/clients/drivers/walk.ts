// Calls a client of openapi-generator (typescript-fetch) step by step, and prints a line of JSON
// for each.
import { readFileSync } from "node:fs";
import * as client from "./client/index.js";

type Step = {
  operationId: string;
  parameters: Record<string, unknown>;
  others: string[];
  body: unknown;
  keepsToken: boolean;
  withKeptToken: boolean;
};

const isTime = (value: unknown) => typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value);
// Clients take times as dates.
const plan = JSON.parse(readFileSync(process.argv[2]!, "utf8"), (_, value) =>
  isTime(value) ? new Date(value) : value,
);
const keyOf = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, "");

function callOf(api: Record<string, any>, operation: string): string | undefined {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(api));
  return names.find((name) => keyOf(name) === `${keyOf(operation)}raw`);
}

// The members that a call asks for by the names of the code: parameters, and else the body.
function argumentsOf(step: Step): any {
  const parameters = Object.entries(step.parameters).map(([name, value]) => [keyOf(name), value]);
  const given = Object.fromEntries(parameters);
  const known = new Set(step.others.map(keyOf));
  return new Proxy({}, {
    get(_, name) {
      const key = keyOf(String(name));
      return known.has(key) ? given[key] : (step.body ?? undefined);
    },
  });
}

let kept = "";
for (const step of plan.steps as Step[]) {
  const accessToken = step.withKeptToken ? kept : plan.token;
  const configuration = new client.Configuration({ basePath: plan.url, accessToken });
  const apis = Object.entries(client as Record<string, any>)
    .filter(([name]) => name.endsWith("Api"))
    .map(([, Api]) => new Api(configuration));
  const api = apis.find((each) => callOf(each, step.operationId));
  const response = await api[callOf(api, step.operationId)!](argumentsOf(step));
  const value = (await response.value()) ?? null;
  const answer = value instanceof Blob ? await value.text() : value;
  if (step.keepsToken) kept = answer.accessToken;
  const line = { operationId: step.operationId, status: response.raw.status, answer };
  console.log(JSON.stringify(line));
}
