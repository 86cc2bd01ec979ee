package asyncengine.pipes;

import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Set;
import org.apache.camel.util.json.DeserializationException;
import org.apache.camel.util.json.JsonObject;
import org.apache.camel.util.json.Jsoner;

/** An answer of the engine, or of whatever stands before it, read whole. */
record Answer(int status, String body, Duration retryAfter) {

    private static final Set<Integer> TRANSIENT = Set.of(408, 429, 502, 503, 504);

    static Answer of(HttpResponse<byte[]> response) {
        String retryAfter = response.headers().firstValue("Retry-After").orElse("");
        String body = new String(response.body(), StandardCharsets.UTF_8);
        return new Answer(response.statusCode(), body, delay(retryAfter.strip()));
    }

    boolean isGood() {
        return status >= 200 && status < 300;
    }

    /** Whether the same request may be answered otherwise in a moment. */
    boolean isTransient() {
        return TRANSIENT.contains(status);
    }

    /**
     * Whether it leaves open that the request was carried out, and the answer lost. The engine itself
     * knows the key of a request that it has carried out before.
     */
    boolean leavesDoubt(boolean before) {
        return status == 408 || status == 502 || status == 504 || status == 503 && before;
    }

    /** The JSON object of the body, an empty one where the body is something else. */
    JsonObject json() {
        try {
            return Jsoner.deserialize(body) instanceof JsonObject object ? object : new JsonObject();
        } catch (DeserializationException | RuntimeException error) {
            return new JsonObject();
        }
    }

    /** A text of the JSON object, "" where there is none. */
    String text(String name) {
        return json().get(name) instanceof String text ? text : "";
    }

    /** Reads Retry-After, which is a number of seconds or a date; null for anything else. */
    private static Duration delay(String retryAfter) {
        if (retryAfter.matches("[0-9]{1,9}")) {
            return Duration.ofSeconds(Long.parseLong(retryAfter));
        }
        try {
            DateTimeFormatter format = DateTimeFormatter.RFC_1123_DATE_TIME;
            Instant retryAt = ZonedDateTime.parse(retryAfter, format).toInstant();
            Duration delay = Duration.between(Instant.now(), retryAt);
            return delay.isNegative() ? Duration.ZERO : delay;
        } catch (DateTimeException error) {
            return null;
        }
    }
}
