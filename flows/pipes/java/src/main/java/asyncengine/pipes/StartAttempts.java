package asyncengine.pipes;

import java.net.http.HttpRequest;
import java.time.Duration;

/** Posts one payload. Repeating it is safe because of the key. */
final class StartAttempts extends Attempts {

    private final HttpRequest.Builder request;
    private final String flowName;

    StartAttempts(EngineClient engine, String flowName, HttpRequest.Builder request) {
        super(engine, engine.starts(), "Flow " + flowName + " was not started", engine.settings().startTimeout());
        this.flowName = flowName;
        this.request = request;
    }

    @Override
    String action(boolean isDoubtful) {
        return isDoubtful ? "It is not known whether flow " + flowName + " was started" : super.action(false);
    }

    @Override
    HttpRequest.Builder request() {
        return request;
    }

    @Override
    Duration requestTimeout() {
        return engine.settings().responseTimeout();
    }

    @Override
    Decision decide(Answer answer) {
        return answer.text("correlationId").isEmpty() ? Decision.WRONG : Decision.DONE;
    }

    @Override
    AsyncEngineException wrong(Answer answer) {
        return new AsyncEngineException(
                action() + ": " + engine.settings().url() + " answered without a run; is it the engine", answer);
    }

    @Override
    Exception outOfTime(Exception last) {
        long milliseconds = engine.settings().startTimeout().toMillis();
        return new AsyncEngineException(action() + " within " + milliseconds + " ms" + because(last), last);
    }

    @Override
    int retries() {
        return engine.settings().retries();
    }

    @Override
    Duration graceAtStop() {
        return Duration.ofSeconds(2);
    }
}
