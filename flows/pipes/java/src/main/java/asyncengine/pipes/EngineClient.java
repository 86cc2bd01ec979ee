package asyncengine.pipes;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.HttpTimeoutException;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import org.apache.camel.CamelContext;
import org.apache.camel.support.jsse.SSLContextParameters;

/** Speaks HTTP with the engine. Nothing here waits in a thread. */
final class EngineClient {

    /** Starts at once. More only make each other slower. */
    private static final int STARTS = 64;

    /** Waiting requests at once. The engine allows a user 500 of them, in all of his applications. */
    private static final int WAITS = 200;

    private final Settings settings;
    private final Lane starts;
    private final Lane waits;
    private final Work work;
    private final Counters counters;
    private final HttpClient http;
    private final Credentials credentials;

    EngineClient(Settings settings, CamelContext context, Work work, Counters counters) {
        this.settings = settings;
        this.work = work;
        this.counters = counters;
        this.starts = new Lane(STARTS, work.pool());
        this.waits = new Lane(WAITS, work.pool());
        this.http = client(settings, context, work);
        this.credentials = new Credentials(settings, this);
    }

    Settings settings() {
        return settings;
    }

    Work work() {
        return work;
    }

    Lane starts() {
        return starts;
    }

    Lane waits() {
        return waits;
    }

    Counters counters() {
        return counters;
    }

    /** Starts a request to a path below the engine's URL. */
    HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(settings.url() + path)).header("Accept", "application/json");
    }

    /**
     * Sends a request with credentials, and once more with fresh ones where they had expired.
     *
     * @param within the time until the answer is read whole
     * @param comesAgain whether its body can be sent once more by then
     */
    CompletableFuture<Answer> sendAuthorized(HttpRequest.Builder request, Duration within, BooleanSupplier comesAgain) {
        return credentials.authorization().thenCompose(authorization -> send(with(request, authorization), within)
                .thenCompose(answer -> {
                    if (answer.status() != 401 || !credentials.drop(authorization) || !comesAgain.getAsBoolean()) {
                        return CompletableFuture.completedFuture(answer);
                    }
                    return credentials.authorization().thenCompose(fresh -> send(with(request, fresh), within));
                }));
    }

    private static HttpRequest with(HttpRequest.Builder request, String authorization) {
        HttpRequest.Builder copy = request.copy();
        return (authorization.isEmpty() ? copy : copy.setHeader("Authorization", authorization)).build();
    }

    /** Sends a request once. Where the answer is not there whole in time, the connection is closed. */
    CompletableFuture<Answer> send(HttpRequest request, Duration within) {
        CompletableFuture<Answer> answered = new CompletableFuture<>();
        CompletableFuture<HttpResponse<byte[]>> sent = http.sendAsync(request, BodyHandlers.ofByteArray());
        Future<?> limit = work.later(within, () -> {
            String message = "no whole answer within " + within.toMillis() + " ms";
            answered.completeExceptionally(new HttpTimeoutException(message));
            sent.cancel(true);
        });
        sent.whenCompleteAsync((response, error) -> {
            limit.cancel(false);
            if (error == null) {
                answered.complete(Answer.of(response));
            } else {
                answered.completeExceptionally(error);
            }
        }, work.pool());
        return answered;
    }

    /** Unwraps what a future says of a failure. */
    static Throwable cause(Throwable error) {
        return error instanceof CompletionException && error.getCause() != null ? cause(error.getCause()) : error;
    }

    private static HttpClient client(Settings settings, CamelContext context, Work work) {
        HttpClient.Builder client = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .followRedirects(HttpClient.Redirect.NEVER)
                .executor(work.pool())
                .connectTimeout(settings.connectTimeout());
        SSLContextParameters ssl = settings.ssl();
        if (ssl != null) {
            try {
                client.sslContext(ssl.createSSLContext(context));
            } catch (GeneralSecurityException | IOException error) {
                throw new IllegalArgumentException("The SSLContextParameters are unusable", error);
            }
        }
        return client.build();
    }
}
