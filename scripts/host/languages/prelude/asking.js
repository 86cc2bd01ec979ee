// shared.ask(service, request): a request to a service of the worker, and a promise of its reply.
(function (shared) {
  "use strict";
  const { parse } = JSON;
  const promise = Promise;
  const settleOther = shared.settle;
  const waiting = {};
  // Below zero: the numbers above are those of outside calls.
  let last = 0;

  // Throws now for what JSON cannot hold. What is too large is answered here.
  shared.ask = function (service, request) {
    return new promise((resolve) => {
      shared.stopIfDecided();
      let sent;
      try {
        // As text, which Python reads with all digits.
        sent = shared.copied(request, "request", shared.maxSent);
      } catch (error) {
        if (!shared.isTooLarge(error)) {
          throw error;
        }
        resolve({ error: shared.tooLarge, kind: "too-large" });
        return;
      }
      waiting[--last] = resolve;
      const { requests } = shared;
      shared.hasNews = true;
      requests[requests.length] = [last, sent, service];
    });
  };

  shared.settle = function (number, answer, makeNumerals) {
    if (number >= 0) {
      return settleOther(number, answer, makeNumerals);
    }
    const resolve = waiting[number];
    delete waiting[number];
    const reply = parse(answer);
    if (reply.text !== undefined) {
      reply.value = shared.read(reply.text, makeNumerals);
    }
    return resolve(reply);
  };
})
