package asyncengine.pipes;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.camel.InvalidPayloadException;
import org.apache.camel.Message;
import org.apache.camel.support.MessageHelper;
import org.apache.camel.util.json.Jsoner;

/** The body of a message as JSON in UTF-8. */
final class Payload {

    private Payload() {}

    /**
     * Returns the bytes to send: a text in UTF-8, a map written as JSON, anything else by Camel's
     * type converters. No body is an empty payload.
     *
     * @throws IllegalArgumentException if a map holds what JSON has no form for
     * @throws InvalidPayloadException if no type converter takes the body
     */
    static byte[] of(Message message) throws InvalidPayloadException {
        Object body = message.getBody();
        if (body == null) {
            return "{}".getBytes(StandardCharsets.UTF_8);
        }
        if (body instanceof Map<?, ?> map) {
            return Jsoner.serialize(map).getBytes(StandardCharsets.UTF_8);
        }
        if (body instanceof String text) {
            return text.getBytes(StandardCharsets.UTF_8);
        }
        byte[] bytes = message.getMandatoryBody(byte[].class);
        // A route that sends the message again, or looks at it, finds it unread.
        MessageHelper.resetStreamCache(message);
        return bytes;
    }
}
