package asyncengine.pipes;

import static asyncengine.pipes.AsyncEngineRoutes.CORRELATION_ID;

import java.time.Duration;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;
import org.apache.camel.Exchange;
import org.apache.camel.Processor;
import org.apache.camel.util.json.JsonObject;
import org.apache.camel.util.json.Jsoner;

/** Waits for the end of a run and sets the body to its result, as JSON text. */
class AwaitRun implements Processor {

    private static final Pattern ID = Pattern.compile("[0-9A-Fa-f-]{36}");
    private static final Set<String> FINAL = Set.of("COMPLETED", "FAILED", "CANCELLED");
    private static final Duration LONGEST_WAIT = Duration.ofSeconds(10);
    /** An engine where too many wait answers at once. */
    private static final Duration BETWEEN = Duration.ofMillis(200);

    private final AsyncEngine engine;
    private final Settings settings;

    AwaitRun(AsyncEngine engine, Settings settings) {
        this.engine = engine;
        this.settings = settings;
    }

    @Override
    public void process(Exchange exchange) throws Exception {
        String id = correlationId(exchange);
        Answer answer = finished(id);
        JsonObject run = answer.json();
        String status = run.getString("status");
        if (!status.equals("COMPLETED")) {
            String error = Objects.toString(run.get("error"), "");
            throw new RunFailedException(id, status, error, answer.body());
        }
        exchange.getMessage().setBody(Jsoner.serialize(run.get("result")));
    }

    private static String correlationId(Exchange exchange) {
        String id = exchange.getMessage().getHeader(CORRELATION_ID, String.class);
        if (id == null) {
            id = exchange.getProperty(CORRELATION_ID, String.class);
        }
        if (id == null || !ID.matcher(id).matches()) {
            throw new IllegalArgumentException(
                    "Neither header nor exchange property " + CORRELATION_ID + " has a run's id: " + id);
        }
        return id;
    }

    private Answer finished(String id) throws AsyncEngineException, TimeoutException {
        long end = System.nanoTime() + settings.awaitTimeout().toNanos();
        while (true) {
            Duration left = Duration.ofNanos(Math.max(0, end - System.nanoTime()));
            Duration wait = left.compareTo(LONGEST_WAIT) < 0 ? left : LONGEST_WAIT;
            String path = "/async/api/runs/" + id + "?wait=" + wait.toMillis() / 1000.0;
            Answer answer = engine.get("Run " + id + " cannot be seen", path, wait);
            if (isFinal(answer.json().get("status"))) {
                return answer;
            }
            if (System.nanoTime() >= end || !engine.sleep(BETWEEN)) {
                throw new TimeoutException(
                        "Run " + id + " has not ended within " + settings.awaitTimeout().toMillis() + " ms");
            }
        }
    }

    private static boolean isFinal(Object status) {
        return FINAL.contains(String.valueOf(status));
    }
}
