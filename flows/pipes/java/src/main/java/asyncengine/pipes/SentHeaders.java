package asyncengine.pipes;

import java.net.http.HttpRequest;
import java.util.Locale;
import java.util.Set;
import org.apache.camel.Exchange;
import org.apache.camel.spi.HeaderFilterStrategy;

/** Sends headers of the message where the application wants it, such as those of a trace. */
final class SentHeaders {

    /** What belongs to the component or to HTTP. */
    private static final Set<String> OURS = Set.of(
            "accept", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie",
            "date", "expect", "host", "idempotency-key", "transfer-encoding", "upgrade");

    private SentHeaders() {}

    static void add(HttpRequest.Builder request, Exchange exchange, HeaderFilterStrategy filter) {
        if (filter == null) {
            return;
        }
        exchange.getMessage().getHeaders().forEach((name, value) -> {
            boolean isOurs = OURS.contains(name.toLowerCase(Locale.ROOT));
            if (value != null && !isOurs && !filter.applyFilterToCamelHeaders(name, value, exchange)) {
                String text = exchange.getContext().getTypeConverter().tryConvertTo(String.class, exchange, value);
                if (text != null && text.chars().allMatch(c -> c >= ' ' && c <= '~')) {
                    request.setHeader(name, text);
                }
            }
        });
    }
}
