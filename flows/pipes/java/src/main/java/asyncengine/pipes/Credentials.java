package asyncengine.pipes;

import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.concurrent.CompletableFuture;
import org.apache.camel.util.json.JsonObject;

/** What goes into the Authorization header: a given token, Basic, or a token fetched by Basic. */
final class Credentials {

    /** The engine refused to give a token. */
    static final class NoToken extends IOException {

        private final transient Answer answer;

        NoToken(Answer answer) {
            super("The engine gave no token: " + answer.status());
            this.answer = answer;
        }

        Answer answer() {
            return answer;
        }
    }

    /** A token that ends so soon is not used any more. */
    private static final Duration MARGIN = Duration.ofSeconds(30);

    private final Settings settings;
    private final EngineClient engine;
    private CompletableFuture<String> fetched;
    private volatile Instant goodUntil = Instant.MAX;

    Credentials(Settings settings, EngineClient engine) {
        this.settings = settings;
        this.engine = engine;
    }

    /** Returns the header's value, "" for none. Callers that come meanwhile share one login. */
    synchronized CompletableFuture<String> authorization() {
        if (!isFetched()) {
            return CompletableFuture.completedFuture(given());
        }
        boolean isOld = fetched != null && fetched.isDone() && Instant.now().isAfter(goodUntil);
        if (fetched == null || fetched.isCompletedExceptionally() || isOld) {
            goodUntil = Instant.MAX;
            fetched = fetch();
        }
        return fetched;
    }

    /** Drops a value that was refused; false where there will be no other. */
    synchronized boolean drop(String refused) {
        boolean isCurrent = fetched != null
                && fetched.isDone()
                && !fetched.isCompletedExceptionally()
                && refused.equals(fetched.join());
        if (isCurrent) {
            fetched = null;
        }
        return isFetched();
    }

    private boolean isFetched() {
        return settings.token().isEmpty() && settings.login() && !settings.username().isEmpty();
    }

    private String given() {
        if (!settings.token().isEmpty()) {
            return "Bearer " + settings.token();
        }
        return settings.username().isEmpty() ? "" : basic();
    }

    private CompletableFuture<String> fetch() {
        HttpRequest request = engine.request("/async/api/auth/token")
                .header("Authorization", basic())
                .POST(BodyPublishers.noBody())
                .build();
        return engine.send(request, settings.responseTimeout()).thenCompose(answer -> {
            JsonObject token = answer.json();
            if (!answer.isGood() || !(token.get("accessToken") instanceof String text) || text.isEmpty()) {
                return CompletableFuture.failedFuture(new NoToken(answer));
            }
            long seconds = token.get("expiresIn") instanceof Number number ? number.longValue() : 3600;
            goodUntil = Instant.now().plusSeconds(seconds).minus(MARGIN);
            return CompletableFuture.completedFuture("Bearer " + text);
        });
    }

    private String basic() {
        String pair = settings.username() + ":" + settings.password();
        return "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.UTF_8));
    }
}
