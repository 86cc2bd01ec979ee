package asyncengine.pipes;

import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;

/** The characters of a reader as bytes in UTF-8, as they are read. */
final class Utf8Stream extends InputStream {

    private final Reader reader;
    private final char[] characters = new char[8192];
    private byte[] bytes = {};
    private int position;

    Utf8Stream(Reader reader) {
        this.reader = reader;
    }

    static InputStream of(InputStream stream, Charset charset) {
        return charset.equals(StandardCharsets.UTF_8) ? stream : new Utf8Stream(new InputStreamReader(stream, charset));
    }

    @Override
    public int read() throws IOException {
        return fill() ? bytes[position++] & 0xFF : -1;
    }

    @Override
    public int read(byte[] target, int offset, int length) throws IOException {
        if (length == 0) {
            return 0;
        }
        if (!fill()) {
            return -1;
        }
        int count = Math.min(length, bytes.length - position);
        System.arraycopy(bytes, position, target, offset, count);
        position += count;
        return count;
    }

    private boolean fill() throws IOException {
        while (position == bytes.length) {
            int count = reader.read(characters, 0, characters.length - 1);
            if (count < 0) {
                return false;
            }
            // A pair of surrogates must not be cut in two.
            if (count > 0 && Character.isHighSurrogate(characters[count - 1])) {
                int second = reader.read();
                if (second >= 0) {
                    characters[count++] = (char) second;
                }
            }
            bytes = new String(characters, 0, count).getBytes(StandardCharsets.UTF_8);
            position = 0;
        }
        return true;
    }

    @Override
    public void close() throws IOException {
        reader.close();
    }
}
