package asyncengine.pipes;

import java.net.URI;
import java.time.Duration;
import java.util.Properties;
import java.util.Set;
import org.apache.camel.CamelContext;
import org.apache.camel.spi.HeaderFilterStrategy;
import org.apache.camel.support.jsse.SSLContextParameters;
import org.apache.camel.util.TimeUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The options in force: those of an endpoint or its component, else the properties {@code
 * asyncengine.*}, else the defaults.
 */
record Settings(
        URI url,
        String token,
        String username,
        String password,
        boolean login,
        SSLContextParameters ssl,
        Duration connectTimeout,
        Duration responseTimeout,
        Duration startTimeout,
        Duration awaitTimeout,
        int retries,
        Duration retryDelay,
        Duration maximumRetryAfter,
        boolean keyFromHeader,
        HeaderFilterStrategy headerFilter) {

    private static final Logger LOG = LoggerFactory.getLogger(AsyncEngineComponent.class);

    private static final Set<String> NAMES = Set.of(
            "url", "token", "username", "password", "authentication", "connectTimeout", "responseTimeout",
            "startTimeout", "awaitTimeout", "retries", "retryDelay", "maximumRetryAfter", "keyFromHeader", "routes");

    /**
     * Resolves options.
     *
     * @throws IllegalArgumentException that names the option which cannot be used
     */
    static Settings of(CamelContext context, AsyncEngineConfiguration options) {
        Reader reader = new Reader(context);
        // Credentials belong together: a password of one place is not sent with a user of another.
        boolean has = options.getToken() != null || options.getUsername() != null || options.getPassword() != null;
        return new Settings(
                url(reader.text("url", options.getUrl(), "http://127.0.0.1:8000").strip()),
                (has ? text(options.getToken()) : reader.text("token", null, "")).strip(),
                has ? text(options.getUsername()) : reader.text("username", null, ""),
                has ? text(options.getPassword()) : reader.text("password", null, ""),
                isLogin(reader.text("authentication", options.getAuthentication(), "basic").strip()),
                options.getSslContextParameters() != null
                        ? options.getSslContextParameters()
                        : context.getSSLContextParameters(),
                reader.duration("connectTimeout", options.getConnectTimeout(), "5s", 1),
                reader.duration("responseTimeout", options.getResponseTimeout(), "30s", 1),
                reader.duration("startTimeout", options.getStartTimeout(), "60s", 1),
                reader.duration("awaitTimeout", options.getAwaitTimeout(), "60s", 0),
                reader.number("retries", options.getRetries(), -1),
                reader.duration("retryDelay", options.getRetryDelay(), "500", 0),
                Duration.ofSeconds(reader.number("maximumRetryAfter", options.getMaximumRetryAfter(), 30)),
                reader.flag("keyFromHeader", options.getKeyFromHeader()),
                options.getHeaderFilterStrategy());
    }

    /** Logs the properties {@code asyncengine.*} that mean nothing: one may be misspelt. */
    static void warnOfUnknown(CamelContext context) {
        Properties properties = context.getPropertiesComponent().loadProperties(name -> name.startsWith("asyncengine."));
        for (String name : properties.stringPropertyNames()) {
            if (!NAMES.contains(camelCase(name.substring("asyncengine.".length())))) {
                LOG.warn("The property {} is unknown. There are asyncengine.{}", name, String.join(", ", NAMES));
            }
        }
    }

    private static String camelCase(String name) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < name.length(); i++) {
            boolean isDash = name.charAt(i) == '-' && i + 1 < name.length();
            text.append(isDash ? Character.toUpperCase(name.charAt(++i)) : name.charAt(i));
        }
        return text.toString();
    }

    private static String text(String text) {
        return text == null ? "" : text;
    }

    private static URI url(String text) {
        try {
            URI url = URI.create(text.endsWith("/") ? text.substring(0, text.length() - 1) : text);
            if (url.getHost() != null && Set.of("http", "https").contains(String.valueOf(url.getScheme()))) {
                return url;
            }
        } catch (IllegalArgumentException error) {
            throw new IllegalArgumentException("asyncengine.url is no address: " + text, error);
        }
        throw new IllegalArgumentException("asyncengine.url must begin with http:// or https://, not " + text);
    }

    private static boolean isLogin(String authentication) {
        return switch (authentication) {
            case "basic" -> false;
            case "login" -> true;
            default -> throw new IllegalArgumentException(
                    "asyncengine.authentication must be basic or login, not " + authentication);
        };
    }

    /** Whatever is printed of it has no secret in it. */
    @Override
    public String toString() {
        return "Settings[" + url + "]";
    }

    /** Reads an option, or else its property. */
    private record Reader(CamelContext context) {

        String text(String name, String option, String otherwise) {
            String text = option != null ? option : context.resolvePropertyPlaceholders("{{?asyncengine." + name + "}}");
            return text == null || text.isBlank() ? otherwise : text;
        }

        Duration duration(String name, String option, String otherwise, long least) {
            String text = text(name, option, otherwise).strip();
            try {
                long milliseconds = TimeUtils.toMilliSeconds(text);
                if (milliseconds >= least) {
                    return Duration.ofMillis(milliseconds);
                }
            } catch (RuntimeException error) {
                throw new IllegalArgumentException("asyncengine." + name + " is no duration: " + text, error);
            }
            throw new IllegalArgumentException("asyncengine." + name + " is too short: " + text);
        }

        int number(String name, Integer option, int otherwise) {
            String text = text(name, option == null ? null : option.toString(), String.valueOf(otherwise));
            try {
                return Integer.parseInt(text.strip());
            } catch (NumberFormatException error) {
                throw new IllegalArgumentException("asyncengine." + name + " is no whole number: " + text, error);
            }
        }

        boolean flag(String name, Boolean option) {
            String text = text(name, option == null ? null : option.toString(), "false").strip();
            if (!Set.of("true", "false").contains(text)) {
                throw new IllegalArgumentException("asyncengine." + name + " must be true or false, not " + text);
            }
            return text.equals("true");
        }
    }
}
