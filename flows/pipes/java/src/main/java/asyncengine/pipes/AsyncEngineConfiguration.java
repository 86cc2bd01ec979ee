package asyncengine.pipes;

import org.apache.camel.RuntimeCamelException;
import org.apache.camel.spi.HeaderFilterStrategy;
import org.apache.camel.spi.Metadata;
import org.apache.camel.spi.UriParam;
import org.apache.camel.spi.UriParams;
import org.apache.camel.support.jsse.SSLContextParameters;

/**
 * The options of a component and of an endpoint. What is null is not set here: an endpoint takes it
 * from its component, and a component from the property {@code asyncengine.*} of the same name.
 */
@UriParams
public class AsyncEngineConfiguration implements Cloneable {

    @UriParam(defaultValue = "http://127.0.0.1:8000")
    @Metadata(description = "What stands before /async in the addresses of the engine.")
    private String url;

    @UriParam(label = "security")
    @Metadata(secret = true, description = "A Bearer token. It takes precedence over user name and password.")
    private String token;

    @UriParam(label = "security")
    @Metadata(secret = true, description = "The name of the user that starts and waits.")
    private String username;

    @UriParam(label = "security")
    @Metadata(secret = true, description = "The password of the user.")
    private String password;

    @UriParam(label = "security", enums = "basic,login", defaultValue = "basic")
    @Metadata(description = "With login a token is fetched with user name and password, and kept.")
    private String authentication;

    @UriParam(label = "security")
    @Metadata(description = "TLS. Without it the SSLContextParameters of the context are used, if there are any.")
    private SSLContextParameters sslContextParameters;

    @UriParam(label = "timeouts", defaultValue = "5s", javaType = "java.lang.String")
    @Metadata(description = "How long to wait for a connection: milliseconds, or a text such as 5s.")
    private String connectTimeout;

    @UriParam(label = "timeouts", defaultValue = "30s", javaType = "java.lang.String")
    @Metadata(description = "How long one request may take, until its answer is read whole.")
    private String responseTimeout;

    @UriParam(label = "timeouts", defaultValue = "60s", javaType = "java.lang.String")
    @Metadata(description = "How long a start may take, with all its tries and delays.")
    private String startTimeout;

    @UriParam(label = "timeouts", defaultValue = "60s", javaType = "java.lang.String")
    @Metadata(description = "How long to wait for the end of a run.")
    private String awaitTimeout;

    @UriParam(label = "retries", defaultValue = "-1")
    @Metadata(description = "How often a start is tried again: 0 for never, -1 for as often as startTimeout allows."
            + " A try that the engine asked for with Retry-After is not counted.")
    private Integer retries;

    @UriParam(label = "retries", defaultValue = "500", javaType = "java.lang.String")
    @Metadata(description = "The delay before the second try. It doubles with each, with jitter.")
    private String retryDelay;

    @UriParam(label = "retries", defaultValue = "30")
    @Metadata(description = "Seconds. Where the engine asks to wait for longer, the call fails at once.")
    private Integer maximumRetryAfter;

    @UriParam(defaultValue = "false")
    @Metadata(description = "Whether the message's header Idempotency-Key is part of the key of a start.")
    private Boolean keyFromHeader;

    @UriParam(label = "advanced")
    @Metadata(description = "Which headers of the message go to the engine. Without it none does.")
    private HeaderFilterStrategy headerFilterStrategy;

    /** Returns a copy that can be changed independently. */
    public AsyncEngineConfiguration copy() {
        try {
            return (AsyncEngineConfiguration) super.clone();
        } catch (CloneNotSupportedException error) {
            throw new RuntimeCamelException(error);
        }
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

    public String getAuthentication() {
        return authentication;
    }

    public void setAuthentication(String authentication) {
        this.authentication = authentication;
    }

    public SSLContextParameters getSslContextParameters() {
        return sslContextParameters;
    }

    public void setSslContextParameters(SSLContextParameters sslContextParameters) {
        this.sslContextParameters = sslContextParameters;
    }

    public String getConnectTimeout() {
        return connectTimeout;
    }

    public void setConnectTimeout(String connectTimeout) {
        this.connectTimeout = connectTimeout;
    }

    public String getResponseTimeout() {
        return responseTimeout;
    }

    public void setResponseTimeout(String responseTimeout) {
        this.responseTimeout = responseTimeout;
    }

    public String getStartTimeout() {
        return startTimeout;
    }

    public void setStartTimeout(String startTimeout) {
        this.startTimeout = startTimeout;
    }

    public String getAwaitTimeout() {
        return awaitTimeout;
    }

    public void setAwaitTimeout(String awaitTimeout) {
        this.awaitTimeout = awaitTimeout;
    }

    public Integer getRetries() {
        return retries;
    }

    public void setRetries(Integer retries) {
        this.retries = retries;
    }

    public String getRetryDelay() {
        return retryDelay;
    }

    public void setRetryDelay(String retryDelay) {
        this.retryDelay = retryDelay;
    }

    public Integer getMaximumRetryAfter() {
        return maximumRetryAfter;
    }

    public void setMaximumRetryAfter(Integer maximumRetryAfter) {
        this.maximumRetryAfter = maximumRetryAfter;
    }

    public Boolean getKeyFromHeader() {
        return keyFromHeader;
    }

    public void setKeyFromHeader(Boolean keyFromHeader) {
        this.keyFromHeader = keyFromHeader;
    }

    public HeaderFilterStrategy getHeaderFilterStrategy() {
        return headerFilterStrategy;
    }

    public void setHeaderFilterStrategy(HeaderFilterStrategy headerFilterStrategy) {
        this.headerFilterStrategy = headerFilterStrategy;
    }
}
