package asyncengine.pipes;

import java.lang.reflect.InvocationTargetException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.camel.Exchange;
import org.apache.camel.WrappedFile;
import org.apache.camel.util.IOHelper;

/** In which characters the bytes of a body are. */
final class Charsets {

    private static final Pattern OF_CONTENT_TYPE = Pattern.compile("(?i);\\s*charset\\s*=\\s*\"?([^\\s;\"]+)");

    private Charsets() {}

    /**
     * Returns the charset of the exchange, of its file or of the Content-Type; UTF-8 without one.
     *
     * @throws IllegalArgumentException if there is no such charset
     */
    static Charset of(Exchange exchange, Object body) {
        String name = exchange.getMessage().getHeader(Exchange.CHARSET_NAME, String.class);
        if (name == null) {
            name = exchange.getProperty(Exchange.CHARSET_NAME, String.class);
        }
        if (name == null && body instanceof WrappedFile<?> file) {
            name = ofFile(file);
        }
        if (name == null) {
            name = ofContentType(exchange.getMessage().getHeader(Exchange.CONTENT_TYPE, String.class));
        }
        return name == null || name.isBlank() ? StandardCharsets.UTF_8 : Charset.forName(IOHelper.normalizeCharset(name));
    }

    private static String ofContentType(String contentType) {
        Matcher matcher = OF_CONTENT_TYPE.matcher(contentType == null ? "" : contentType);
        return matcher.find() ? matcher.group(1) : null;
    }

    /** Reads getCharset() of Camel's GenericFile, whose module an application need not have. */
    private static String ofFile(WrappedFile<?> file) {
        try {
            return (String) file.getClass().getMethod("getCharset").invoke(file);
        } catch (NoSuchMethodException | IllegalAccessException | InvocationTargetException | ClassCastException error) {
            return null;
        }
    }
}
