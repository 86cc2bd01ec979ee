package asyncengine.pipes;

import java.util.Map;
import org.apache.camel.util.json.JsonObject;

/** Makes problem documents (RFC 9457) for what the engine has none for. */
final class ProblemDocument {

    private static final Map<Integer, String> TITLES = Map.of(
            500, "The run has no result.", 503, "The engine cannot be reached.", 504, "The run takes too long.");

    private ProblemDocument() {}

    static String of(int status, String detail) {
        JsonObject problem = new JsonObject();
        problem.put("type", "about:blank");
        problem.put("title", TITLES.getOrDefault(status, "The engine refused."));
        problem.put("status", status);
        problem.put("detail", detail);
        return problem.toJson();
    }
}
