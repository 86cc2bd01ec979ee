package asyncengine.pipes;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.camel.CamelContext;
import org.apache.camel.support.jsse.SSLContextParameters;

/** Speaks HTTP with the engine, and asks again where that may help and harms nothing. */
class AsyncEngine {

    private static final Duration LONGEST_BACKOFF = Duration.ofSeconds(30);

    private final Settings settings;
    private final CamelContext context;
    private final HttpClient http;
    private final Credentials credentials;

    AsyncEngine(Settings settings, CamelContext context) {
        this.settings = settings;
        this.context = context;
        this.http = client(settings, context);
        this.credentials = new Credentials(settings, this);
    }

    /**
     * Posts a payload. Repeating it is safe because of the key.
     *
     * @throws AsyncEngineException if it is refused, or the engine not reached in all tries
     */
    Answer post(String action, String path, byte[] body, String idempotencyKey)
            throws AsyncEngineException {
        HttpRequest.Builder request = request(path, Duration.ZERO)
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", idempotencyKey)
                .POST(BodyPublishers.ofByteArray(body));
        return ask(action, request);
    }

    /**
     * Gets a resource that takes up to {@code wait} to answer.
     *
     * @throws AsyncEngineException if it is refused, or the engine not reached in all tries
     */
    Answer get(String action, String path, Duration wait) throws AsyncEngineException {
        return ask(action, request(path, wait).GET());
    }

    /** Starts a request to a path below the engine's URL. */
    HttpRequest.Builder request(String path, Duration wait) {
        return HttpRequest.newBuilder(URI.create(settings.url() + path))
                .timeout(settings.responseTimeout().plus(wait))
                .header("Accept", "application/json");
    }

    /** Sends a request once. */
    Answer send(HttpRequest request) throws IOException {
        try {
            return Answer.of(http.send(request, BodyHandlers.ofString(StandardCharsets.UTF_8)));
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", error);
        }
    }

    private Answer ask(String action, HttpRequest.Builder request) throws AsyncEngineException {
        for (int tries = 0; ; tries++) {
            Answer answer = null;
            IOException trouble = null;
            try {
                answer = authorized(request);
                if (answer.isGood()) {
                    return answer;
                }
            } catch (IOException error) {
                trouble = error;
            }
            AsyncEngineException failure = failure(action, answer, trouble);
            boolean mayHelp = answer == null || answer.isTransient();
            if (!mayHelp || tries >= settings.retries() || !pause(tries, failure)) {
                throw failure;
            }
        }
    }

    /** Sends a request with credentials, and once more with fresh ones where they had expired. */
    private Answer authorized(HttpRequest.Builder request) throws IOException, AsyncEngineException {
        String authorization = credentials.authorization();
        Answer answer = send(with(request, authorization));
        if (answer.status() == 401 && credentials.renew(authorization)) {
            answer = send(with(request, credentials.authorization()));
        }
        return answer;
    }

    private static HttpRequest with(HttpRequest.Builder request, String authorization) {
        HttpRequest.Builder copy = request.copy();
        return (authorization.isEmpty() ? copy : copy.header("Authorization", authorization)).build();
    }

    private AsyncEngineException failure(String action, Answer answer, IOException trouble) {
        if (answer != null) {
            return new AsyncEngineException(action, answer);
        }
        return new AsyncEngineException(
                action + ": no answer from " + settings.url() + ": " + trouble, trouble);
    }

    /** Waits before the next try; false where it would take too long or the context stops. */
    private boolean pause(int tries, AsyncEngineException failure) {
        Duration delay = failure.getRetryAfter();
        if (delay == null) {
            delay = backoff(tries);
        } else if (delay.compareTo(settings.maximumRetryAfter()) > 0) {
            return false;
        }
        return sleep(delay);
    }

    /** Doubles with each try, with as much again by chance: callers are not to come together. */
    private Duration backoff(int tries) {
        long delay = settings.retryDelay().toMillis() << Math.min(tries, 20);
        delay = Math.min(delay, LONGEST_BACKOFF.toMillis());
        return Duration.ofMillis(delay + ThreadLocalRandom.current().nextLong(delay + 1));
    }

    /** Sleeps; false where the thread is interrupted or the context stops meanwhile. */
    boolean sleep(Duration delay) {
        long end = System.nanoTime() + delay.toNanos();
        long left = delay.toNanos();
        try {
            while (left > 0 && !context.isStopping() && !context.isStopped()) {
                Thread.sleep(Math.min(left / 1_000_000 + 1, 200));
                left = end - System.nanoTime();
            }
            return left <= 0;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    private static HttpClient client(Settings settings, CamelContext context) {
        HttpClient.Builder client = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .connectTimeout(settings.connectTimeout());
        SSLContextParameters ssl = context.getSSLContextParameters();
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
