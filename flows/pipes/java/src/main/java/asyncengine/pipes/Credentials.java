package asyncengine.pipes;

import java.io.IOException;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import org.apache.camel.util.json.JsonObject;

/** What goes into the Authorization header: a given token, Basic, or a token fetched by Basic. */
class Credentials {

    /** A token that ends so soon is not used any more. */
    private static final Duration MARGIN = Duration.ofSeconds(30);

    private final Settings settings;
    private final AsyncEngine engine;
    private String fetched;
    private Instant goodUntil = Instant.MIN;

    Credentials(Settings settings, AsyncEngine engine) {
        this.settings = settings;
        this.engine = engine;
    }

    /** Returns the header's value, "" for none. */
    synchronized String authorization() throws IOException, AsyncEngineException {
        if (!settings.token().isEmpty()) {
            return "Bearer " + settings.token();
        }
        if (settings.username().isEmpty()) {
            return "";
        }
        if (!settings.login()) {
            return basic();
        }
        if (Instant.now().isAfter(goodUntil)) {
            fetch();
        }
        return fetched;
    }

    /** Drops a value that was refused; false where there will be no other. */
    synchronized boolean renew(String refused) {
        if (!refused.isEmpty() && refused.equals(fetched)) {
            goodUntil = Instant.MIN;
        }
        return settings.token().isEmpty() && settings.login() && !settings.username().isEmpty();
    }

    private void fetch() throws IOException, AsyncEngineException {
        Answer answer = engine.send(engine.request("/async/api/auth/token", Duration.ZERO)
                .header("Authorization", basic())
                .POST(BodyPublishers.noBody())
                .build());
        JsonObject token = answer.json();
        if (!answer.isGood() || token.getString("accessToken") == null) {
            throw new AsyncEngineException("The engine gave no token", answer);
        }
        fetched = "Bearer " + token.getString("accessToken");
        long seconds = token.getLongOrDefault("expiresIn", 3600);
        goodUntil = Instant.now().plusSeconds(seconds).minus(MARGIN);
    }

    private String basic() {
        String pair = settings.username() + ":" + settings.password();
        return "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.UTF_8));
    }
}
