package asyncengine.pipes;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.Reader;
import java.io.StringWriter;
import java.nio.ByteBuffer;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.camel.Exchange;
import org.apache.camel.InvalidPayloadException;
import org.apache.camel.Message;
import org.apache.camel.StreamCache;
import org.apache.camel.WrappedFile;
import org.apache.camel.converter.stream.InputStreamCache;
import org.apache.camel.converter.stream.ReaderCache;

/** The body of a message as JSON in UTF-8. */
final class Payload {

    private static final int BOM = 3;

    private Payload() {}

    /**
     * Returns the bytes to send: text, files and streams as they are, in UTF-8; anything else written as
     * JSON. No body is an empty payload. A stream that was read can be read again afterwards.
     *
     * @throws IllegalArgumentException if JSON has no form for the body; it names the place
     * @throws IOException if a file or a stream cannot be read
     */
    static byte[] of(Exchange exchange) throws IOException, InvalidPayloadException {
        Message message = exchange.getMessage();
        Object body = message.getBody();
        if (body == null) {
            return "{}".getBytes(StandardCharsets.UTF_8);
        }
        if (body instanceof CharSequence text) {
            return Utf8.of(text.toString());
        }
        if (body instanceof Reader reader) {
            return Utf8.of(text(exchange, reader));
        }
        byte[] bytes = raw(exchange, body);
        return bytes == null ? JsonBody.of(exchange.getContext(), body) : inUtf8(bytes, Charsets.of(exchange, body));
    }

    /** Returns what is text already; null where it is to be written as JSON. */
    private static byte[] raw(Exchange exchange, Object body) throws IOException, InvalidPayloadException {
        if (body instanceof byte[] bytes) {
            return bytes;
        }
        if (body instanceof ByteBuffer buffer) {
            byte[] bytes = new byte[buffer.remaining()];
            buffer.duplicate().get(bytes);
            return bytes;
        }
        if (body instanceof WrappedFile<?> file) {
            return file.getFile() instanceof File local && local.exists()
                    ? Files.readAllBytes(local.toPath())
                    : exchange.getMessage().getMandatoryBody(byte[].class);
        }
        if (body instanceof File file) {
            return Files.readAllBytes(file.toPath());
        }
        if (body instanceof Path path) {
            return Files.readAllBytes(path);
        }
        return body instanceof InputStream || body instanceof StreamCache
                ? stream(exchange, body)
                : null;
    }

    /** Returns the characters of a reader, which are in no charset, without a byte order mark. */
    private static String text(Exchange exchange, Reader reader) throws IOException {
        StringWriter text = new StringWriter();
        reader.transferTo(text);
        if (reader instanceof StreamCache cache) {
            cache.reset();
        } else {
            exchange.getMessage().setBody(new ReaderCache(text.toString()));
        }
        return text.toString().startsWith("\uFEFF") ? text.toString().substring(1) : text.toString();
    }

    private static byte[] stream(Exchange exchange, Object body) throws IOException {
        if (body instanceof StreamCache cache) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            cache.writeTo(bytes);
            cache.reset();
            return bytes.toByteArray();
        }
        byte[] bytes = ((InputStream) body).readAllBytes();
        // A redelivery, or whatever handles a failure, finds it unread.
        exchange.getMessage().setBody(new InputStreamCache(bytes));
        return bytes;
    }

    private static byte[] inUtf8(byte[] bytes, Charset charset) {
        if (charset.equals(StandardCharsets.UTF_8)) {
            boolean hasMark = bytes.length >= BOM
                    && bytes[0] == (byte) 0xEF
                    && bytes[1] == (byte) 0xBB
                    && bytes[2] == (byte) 0xBF;
            return hasMark ? java.util.Arrays.copyOfRange(bytes, BOM, bytes.length) : bytes;
        }
        return new String(bytes, charset).getBytes(StandardCharsets.UTF_8);
    }

    /** Opens the bytes of a body as a stream in UTF-8, without reading it; null where it is none. */
    static InputStream open(Exchange exchange, Object body) throws IOException {
        Charset charset = Charsets.of(exchange, body);
        if (body instanceof WrappedFile<?> file && file.getFile() instanceof File local && local.exists()) {
            return Utf8Stream.of(Files.newInputStream(local.toPath()), charset);
        }
        if (body instanceof File file) {
            return Utf8Stream.of(Files.newInputStream(file.toPath()), charset);
        }
        if (body instanceof Path path) {
            return Utf8Stream.of(Files.newInputStream(path), charset);
        }
        if (body instanceof InputStream stream) {
            return Utf8Stream.of(stream, charset);
        }
        if (body instanceof Reader reader) {
            return new Utf8Stream(reader);
        }
        if (body instanceof CharSequence text) {
            return new ByteArrayInputStream(Utf8.of(text.toString()));
        }
        return body instanceof byte[] bytes ? Utf8Stream.of(new ByteArrayInputStream(bytes), charset) : null;
    }
}
