package asyncengine.pipes;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Iterator;
import java.util.stream.BaseStream;
import org.apache.camel.CamelContext;
import org.apache.camel.Exchange;
import org.apache.camel.WrappedFile;

/** Many payloads as lines of JSON, made as they are sent. */
final class BatchBody {

    private final Exchange exchange;
    private final Object body;
    private volatile boolean begun;
    /** When the last piece was sent. */
    private volatile long lastPiece = System.nanoTime();
    private volatile boolean inSource;
    private volatile IllegalArgumentException fault;

    BatchBody(Exchange exchange) {
        this.exchange = exchange;
        this.body = exchange.getMessage().getBody();
        if (body == null) {
            throw new IllegalArgumentException("batch=true needs a body: an iterator, a list, or a stream of lines");
        }
    }

    /** Whether nothing of it was sent, so that it can be sent again. */
    boolean isUntouched() {
        return !begun;
    }

    /** Whether it can be read from its beginning, whatever was read of it. */
    boolean comesAgain() {
        return body instanceof Collection
                || body instanceof Object[]
                || body instanceof CharSequence
                || body instanceof byte[]
                || body instanceof File
                || body instanceof Path
                || body instanceof WrappedFile;
    }

    /** For how many nanoseconds the engine has not taken a piece. */
    long idleNanos() {
        return inSource ? 0 : System.nanoTime() - lastPiece;
    }

    /** What was wrong with a payload, null for nothing. */
    IllegalArgumentException fault() {
        return fault;
    }

    InputStream open() {
        begun = true;
        try {
            InputStream stream = Payload.open(exchange, body);
            return new Watched(stream == null ? lines() : stream);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private InputStream lines() {
        Iterator<?> items = iterator(body);
        if (items == null) {
            throw new IllegalArgumentException(
                    "batch=true needs an iterator, a list, or a stream of lines, not a " + body.getClass().getName());
        }
        return new Lines(items, exchange.getContext());
    }

    private static Iterator<?> iterator(Object body) {
        if (body instanceof Iterator<?> iterator) {
            return iterator;
        }
        if (body instanceof Iterable<?> iterable) {
            return iterable.iterator();
        }
        if (body instanceof BaseStream<?, ?> stream) {
            return stream.iterator();
        }
        return body instanceof Object[] array ? java.util.Arrays.asList(array).iterator() : null;
    }

    /** Notes when the engine takes something. */
    private final class Watched extends InputStream {

        private final InputStream source;

        Watched(InputStream source) {
            this.source = source;
        }

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : one[0] & 0xFF;
        }

        @Override
        public int read(byte[] target, int offset, int length) throws IOException {
            inSource = true;
            try {
                return source.read(target, offset, length);
            } catch (IllegalArgumentException error) {
                fault = error;
                throw new IOException(error);
            } finally {
                lastPiece = System.nanoTime();
                inSource = false;
            }
        }

        @Override
        public void close() throws IOException {
            source.close();
        }
    }

    /** One line for each item. */
    private static final class Lines extends InputStream {

        private final Iterator<?> items;
        private final CamelContext context;
        private byte[] line = {};
        private int position;
        private long number;

        Lines(Iterator<?> items, CamelContext context) {
            this.items = items;
            this.context = context;
        }

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : one[0] & 0xFF;
        }

        @Override
        public int read(byte[] target, int offset, int length) {
            if (position == line.length && !next()) {
                return -1;
            }
            int count = Math.min(length, line.length - position);
            System.arraycopy(line, position, target, offset, count);
            position += count;
            return count;
        }

        private boolean next() {
            if (!items.hasNext()) {
                return false;
            }
            number++;
            line = line(items.next());
            position = 0;
            return true;
        }

        private byte[] line(Object item) {
            try {
                return Utf8.of(text(item).replace('\n', ' ').replace('\r', ' ') + "\n");
            } catch (IllegalArgumentException error) {
                throw new IllegalArgumentException("Payload " + number + " of the batch: " + error.getMessage(), error);
            }
        }

        private String text(Object item) {
            if (item == null) {
                throw new IllegalArgumentException("it is null");
            }
            if (item instanceof CharSequence text) {
                return text.toString();
            }
            byte[] bytes = item instanceof byte[] raw ? raw : JsonBody.of(context, item);
            return new String(bytes, StandardCharsets.UTF_8);
        }
    }
}
