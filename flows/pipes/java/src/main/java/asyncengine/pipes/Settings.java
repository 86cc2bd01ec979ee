package asyncengine.pipes;

import java.net.URI;
import java.time.Duration;
import org.apache.camel.CamelContext;
import org.apache.camel.util.TimeUtils;

/**
 * What the properties {@code asyncengine.*} say. A duration is a number of milliseconds or a text
 * such as {@code 5s}.
 */
record Settings(
        URI url,
        String token,
        String username,
        String password,
        boolean login,
        Duration connectTimeout,
        Duration responseTimeout,
        int retries,
        Duration retryDelay,
        Duration maximumRetryAfter,
        Duration awaitTimeout) {

    static Settings of(CamelContext context) {
        return new Settings(
                url(text(context, "url", "http://127.0.0.1:8000")),
                text(context, "token", ""),
                text(context, "username", ""),
                text(context, "password", ""),
                isLogin(text(context, "authentication", "basic")),
                duration(context, "connectTimeout", "5s"),
                duration(context, "responseTimeout", "30s"),
                Integer.parseInt(text(context, "retries", "5")),
                duration(context, "retryDelay", "500"),
                Duration.ofSeconds(Long.parseLong(text(context, "maximumRetryAfter", "30"))),
                duration(context, "awaitTimeout", "60s"));
    }

    private static URI url(String text) {
        return URI.create(text.endsWith("/") ? text.substring(0, text.length() - 1) : text);
    }

    private static boolean isLogin(String authentication) {
        return switch (authentication) {
            case "basic" -> false;
            case "login" -> true;
            default -> throw new IllegalArgumentException(
                    "asyncengine.authentication must be basic or login, not " + authentication);
        };
    }

    private static Duration duration(CamelContext context, String name, String otherwise) {
        return Duration.ofMillis(TimeUtils.toMilliSeconds(text(context, name, otherwise)));
    }

    private static String text(CamelContext context, String name, String otherwise) {
        String text = context.resolvePropertyPlaceholders("{{?asyncengine." + name + "}}");
        return text == null || text.isBlank() ? otherwise : text.strip();
    }
}
