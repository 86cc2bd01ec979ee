package asyncengine.pipes;

import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Objects;
import org.apache.camel.CamelException;
import org.apache.camel.util.json.JsonObject;

/** The engine refused what it was asked for, or could not be reached. */
public class AsyncEngineException extends CamelException {

    private static final int LONGEST_BODY = 500;

    private final int statusCode;
    private final Duration retryAfter;
    private final String responseBody;
    private final JsonObject problem;

    AsyncEngineException(String message, Throwable cause) {
        super(message, cause);
        // The last answer, if there was one, tells more than that the time is over.
        AsyncEngineException last = cause instanceof AsyncEngineException error ? error : null;
        this.statusCode = last == null ? 0 : last.statusCode;
        this.retryAfter = last == null ? null : last.retryAfter;
        this.responseBody = last == null ? "" : last.responseBody;
        this.problem = last == null ? new JsonObject() : last.problem;
    }

    AsyncEngineException(String action, Answer answer) {
        super(action + ": " + answer.status() + " " + summary(answer));
        this.statusCode = answer.status();
        this.retryAfter = answer.retryAfter();
        this.responseBody = answer.body();
        this.problem = answer.json();
    }

    /** The HTTP status, 0 where there was no answer. */
    public int getStatusCode() {
        return statusCode;
    }

    /** The body of the answer: application/problem+json unless something else answered. */
    public String getResponseBody() {
        return responseBody;
    }

    /** The problem document (RFC 9457), empty where the answer was none. */
    public Map<String, Object> getProblem() {
        return problem;
    }

    /** The fixed word of the cause, as {@code queue-full} or {@code unknown-flow}; "" for none. */
    public String getProblemType() {
        return problemType(problem);
    }

    /** How long to wait before another try, null where the answer does not say. */
    public Duration getRetryAfter() {
        return retryAfter;
    }

    /** The status for a caller of yours: that of the answer, 503 where there was none. */
    public int getHttpStatus() {
        return statusCode >= 400 ? statusCode : 503;
    }

    /** A problem document (RFC 9457) for a caller of yours: the engine's own where there is one. */
    public String getProblemDocument() {
        return problem.containsKey("detail") ? responseBody : ProblemDocument.of(getHttpStatus(), getMessage());
    }

    private static String problemType(JsonObject problem) {
        String type = Objects.toString(problem.get("type"), "");
        return type.substring(type.lastIndexOf('/') + 1);
    }

    private static String summary(Answer answer) {
        JsonObject problem = answer.json();
        if (!problem.containsKey("detail")) {
            String body = answer.body().strip();
            return body.length() <= LONGEST_BODY ? body : body.substring(0, LONGEST_BODY) + "…";
        }
        StringBuilder text = new StringBuilder(problemType(problem)).append(": ");
        text.append(problem.get("detail"));
        if (problem.get("errors") instanceof Collection<?> errors) {
            errors.forEach(error -> text.append(' ').append(error));
        }
        return text.toString();
    }
}
