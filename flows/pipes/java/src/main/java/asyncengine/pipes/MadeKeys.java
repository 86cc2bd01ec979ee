package asyncengine.pipes;

import java.util.HashMap;
import java.util.Map;
import java.util.UUID;
import java.util.WeakHashMap;
import org.apache.camel.Exchange;

/**
 * The keys that are made for calls whose messages have none.
 *
 * <p>A key belongs to one call. A redelivery of that call is the same exchange with the same flow and
 * payload, and a redelivery counter that has grown since the call failed. So the key is kept here, by
 * the exchange itself: no copy inherits it, and a loop that goes on after a failure does not find it.
 */
final class MadeKeys {

    private record Failed(String exchangeId, String key, int redeliveries) {}

    private final Map<Exchange, Map<String, Failed>> failed = new WeakHashMap<>();

    /** Returns the key for a call of a flow with a payload. */
    synchronized String keyOf(Exchange exchange, String call) {
        Map<String, Failed> ofExchange = failed.get(exchange);
        Failed before = ofExchange == null ? null : ofExchange.remove(call);
        boolean isRedelivery = before != null
                && before.exchangeId().equals(exchange.getExchangeId())
                && redeliveries(exchange) == before.redeliveries() + 1;
        return isRedelivery ? before.key() : UUID.randomUUID().toString();
    }

    /** Notes that a call failed: a redelivery of it needs its key. */
    synchronized void failed(Exchange exchange, String call, String key) {
        failed.computeIfAbsent(exchange, one -> new HashMap<>())
                .put(call, new Failed(exchange.getExchangeId(), key, redeliveries(exchange)));
    }

    private static int redeliveries(Exchange exchange) {
        return exchange.getMessage().getHeader(Exchange.REDELIVERY_COUNTER, 0, Integer.class);
    }
}
