package asyncengine.pipes;

import java.net.http.HttpRequest;
import java.time.Duration;

/** Posts a batch. It is tried again only where nothing of it was sent: a stream comes once. */
final class BatchAttempts extends Attempts {

    /** A stream may take its time; what ends it is an engine that takes nothing more. */
    private static final Duration LONGEST = Duration.ofDays(7);

    private final HttpRequest.Builder request;
    private final BatchBody body;

    BatchAttempts(EngineClient engine, String action, HttpRequest.Builder request, BatchBody body) {
        super(engine, engine.starts(), action, LONGEST);
        this.request = request;
        this.body = body;
        watch(engine.settings().startTimeout());
    }

    private void watch(Duration delay) {
        Duration limit = body.isUntouched() ? engine.settings().startTimeout() : engine.settings().responseTimeout();
        engine.work().later(delay, () -> {
            long left = limit.toNanos() - body.idleNanos();
            if (left <= 0) {
                giveUp(new AsyncEngineException(action() + ": the engine took nothing more for " + limit.toMillis() + " ms", lastFailure()));
            } else if (!isDone()) {
                watch(Duration.ofNanos(left));
            }
        });
    }

    @Override
    HttpRequest.Builder request() {
        return request;
    }

    @Override
    Duration requestTimeout() {
        return LONGEST;
    }

    @Override
    Decision decide(Answer answer) {
        return answer.json().containsKey("correlationIds") ? Decision.DONE : Decision.WRONG;
    }

    @Override
    AsyncEngineException wrong(Answer answer) {
        return new AsyncEngineException(
                action() + ": " + engine.settings().url() + " answered without runs; is it the engine", answer);
    }

    @Override
    Exception outOfTime(Exception last) {
        return new AsyncEngineException(action() + " within " + LONGEST, last);
    }

    @Override
    int retries() {
        return engine.settings().retries();
    }

    @Override
    Duration graceAtStop() {
        return Duration.ofSeconds(2);
    }

    @Override
    boolean isRepeatable() {
        return body.isUntouched();
    }

    @Override
    boolean comesAgain() {
        return body.isUntouched() || body.comesAgain();
    }
}
