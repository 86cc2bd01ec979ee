// context.finish: the run, or its branch, ends with this output. Told by the messenger of log.js.
(function (shared, context) {
  "use strict";
  context.finish = shared.taking("context.finish", ["output"], (output) => {
    shared.setOutput(output === undefined ? null : output);
    shared.isFinished = true;
    shared.tell("finish", "");
  });
})
