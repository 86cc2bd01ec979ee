package asyncengine.pipes;

import java.net.http.HttpRequest;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Whether an engine is ready for starts.
 *
 * @param isUp whether it says so
 * @param url where it was asked
 * @param message what it answered, or why it did not
 */
public record EngineHealth(boolean isUp, String url, String message) {

    private static final Duration PATIENCE = Duration.ofSeconds(5);

    static EngineHealth of(EngineClient engine) {
        String url = engine.settings().url().toString();
        HttpRequest request = engine.request("/async/health/ready").GET().build();
        try {
            Answer answer = engine.send(request, PATIENCE).get(PATIENCE.toSeconds() + 1, TimeUnit.SECONDS);
            return new EngineHealth(answer.isGood(), url, "The engine answered " + answer.status());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return new EngineHealth(false, url, "Interrupted");
        } catch (ExecutionException error) {
            return new EngineHealth(false, url, "No answer: " + error.getCause());
        } catch (TimeoutException | RuntimeException error) {
            return new EngineHealth(false, url, "No answer: " + error);
        }
    }
}
