package asyncengine.pipes;

import java.net.http.HttpRequest;
import java.time.Duration;
import java.util.Set;

/** Asks for a run until it has ended. The engine answers at its end, or after a while. */
final class AwaitAttempts extends Attempts {

    private static final Set<String> FINAL = Set.of("COMPLETED", "FAILED", "CANCELLED");
    private static final Duration LONGEST_WAIT = Duration.ofSeconds(10);

    /** While others wait for their turn. */
    private static final Duration CROWDED_WAIT = Duration.ofSeconds(1);

    private final String correlationId;
    private volatile Duration wait = Duration.ZERO;

    AwaitAttempts(EngineClient engine, String correlationId) {
        super(engine, engine.waits(), "Run " + correlationId + " cannot be seen", engine.settings().awaitTimeout());
        this.correlationId = correlationId;
    }

    @Override
    HttpRequest.Builder request() {
        // The answer has to be here before the time is over.
        Duration left = left().minus(left().dividedBy(10));
        Duration longest = engine.waits().isCrowded() ? CROWDED_WAIT : LONGEST_WAIT;
        wait = left.compareTo(longest) < 0 ? left : longest;
        return engine.request("/async/api/runs/" + correlationId + "?wait=" + wait.toMillis() / 1000.0).GET();
    }

    @Override
    Duration requestTimeout() {
        return engine.settings().responseTimeout().plus(wait);
    }

    @Override
    Decision decide(Answer answer) {
        String status = answer.text("status");
        if (status.isEmpty()) {
            return Decision.WRONG;
        }
        return FINAL.contains(status) ? Decision.DONE : Decision.NOT_YET;
    }

    @Override
    AsyncEngineException wrong(Answer answer) {
        return new AsyncEngineException(
                action() + ": " + engine.settings().url() + " answered without a run; is it the engine", answer);
    }

    @Override
    Exception outOfTime(Exception last) {
        long milliseconds = engine.settings().awaitTimeout().toMillis();
        String message = "Run " + correlationId + " has not ended within " + milliseconds + " ms";
        return new RunTimeoutException(correlationId, message + because(last), last);
    }

    @Override
    boolean isPatient() {
        return false;
    }

    @Override
    int retries() {
        return -1;
    }

    @Override
    Duration graceAtStop() {
        return Duration.ZERO;
    }
}
