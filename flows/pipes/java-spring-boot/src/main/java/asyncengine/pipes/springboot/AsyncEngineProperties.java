package asyncengine.pipes.springboot;

import asyncengine.pipes.AsyncEngineConfiguration;
import java.time.Duration;
import java.util.Locale;
import org.springframework.boot.context.properties.ConfigurationProperties;

/** The properties asyncengine.*. One that is unknown stops the application: it may be misspelt. */
@ConfigurationProperties(prefix = "asyncengine", ignoreUnknownFields = false)
public class AsyncEngineProperties {

    /** How the user is made known to the engine. */
    public enum Authentication {
        BASIC,
        LOGIN
    }

    /** What stands before /async in the addresses of the engine. */
    private String url = "http://127.0.0.1:8000";

    /** A Bearer token. It takes precedence over user name and password. */
    private String token;

    /** The name of the user that starts and waits. */
    private String username;

    /** The password of the user. */
    private String password;

    /** With login a token is fetched with user name and password, and kept. */
    private Authentication authentication = Authentication.BASIC;

    /** How long to wait for a connection. */
    private Duration connectTimeout = Duration.ofSeconds(5);

    /** How long one request may take, until its answer is read whole. */
    private Duration responseTimeout = Duration.ofSeconds(30);

    /** How long a start may take, with all its tries and delays. */
    private Duration startTimeout = Duration.ofSeconds(60);

    /** How long to wait for the end of a run. */
    private Duration awaitTimeout = Duration.ofSeconds(60);

    /** How often a start is tried again: 0 for never, -1 for as often as startTimeout allows. */
    private int retries = -1;

    /** The delay before the second try. It doubles with each. */
    private Duration retryDelay = Duration.ofMillis(500);

    /** Seconds. Where the engine asks to wait for longer, the call fails at once. */
    private int maximumRetryAfter = 30;

    /** Whether the message's header Idempotency-Key is part of the key of a start. */
    private boolean keyFromHeader = false;

    /** Whether there are the routes direct:callAsyncEngine and direct:awaitAsyncEngine. */
    private boolean routes = true;

    void applyTo(AsyncEngineConfiguration configuration) {
        configuration.setUrl(url);
        configuration.setToken(token);
        configuration.setUsername(username);
        configuration.setPassword(password);
        configuration.setAuthentication(authentication.name().toLowerCase(Locale.ROOT));
        configuration.setConnectTimeout(milliseconds(connectTimeout));
        configuration.setResponseTimeout(milliseconds(responseTimeout));
        configuration.setStartTimeout(milliseconds(startTimeout));
        configuration.setAwaitTimeout(milliseconds(awaitTimeout));
        configuration.setRetries(retries);
        configuration.setRetryDelay(milliseconds(retryDelay));
        configuration.setMaximumRetryAfter(maximumRetryAfter);
        configuration.setKeyFromHeader(keyFromHeader);
    }

    private static String milliseconds(Duration duration) {
        return String.valueOf(duration.toMillis());
    }

    public String getUrl() {
        return url;
    }

    public void setUrl(String url) {
        this.url = url;
    }

    public String getToken() {
        return token;
    }

    public void setToken(String token) {
        this.token = token;
    }

    public String getUsername() {
        return username;
    }

    public void setUsername(String username) {
        this.username = username;
    }

    public String getPassword() {
        return password;
    }

    public void setPassword(String password) {
        this.password = password;
    }

    public Authentication getAuthentication() {
        return authentication;
    }

    public void setAuthentication(Authentication authentication) {
        this.authentication = authentication;
    }

    public Duration getConnectTimeout() {
        return connectTimeout;
    }

    public void setConnectTimeout(Duration connectTimeout) {
        this.connectTimeout = connectTimeout;
    }

    public Duration getResponseTimeout() {
        return responseTimeout;
    }

    public void setResponseTimeout(Duration responseTimeout) {
        this.responseTimeout = responseTimeout;
    }

    public Duration getStartTimeout() {
        return startTimeout;
    }

    public void setStartTimeout(Duration startTimeout) {
        this.startTimeout = startTimeout;
    }

    public Duration getAwaitTimeout() {
        return awaitTimeout;
    }

    public void setAwaitTimeout(Duration awaitTimeout) {
        this.awaitTimeout = awaitTimeout;
    }

    public int getRetries() {
        return retries;
    }

    public void setRetries(int retries) {
        this.retries = retries;
    }

    public Duration getRetryDelay() {
        return retryDelay;
    }

    public void setRetryDelay(Duration retryDelay) {
        this.retryDelay = retryDelay;
    }

    public int getMaximumRetryAfter() {
        return maximumRetryAfter;
    }

    public void setMaximumRetryAfter(int maximumRetryAfter) {
        this.maximumRetryAfter = maximumRetryAfter;
    }

    public boolean isKeyFromHeader() {
        return keyFromHeader;
    }

    public void setKeyFromHeader(boolean keyFromHeader) {
        this.keyFromHeader = keyFromHeader;
    }

    public boolean isRoutes() {
        return routes;
    }

    public void setRoutes(boolean routes) {
        this.routes = routes;
    }
}
